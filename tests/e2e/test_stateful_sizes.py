"""More replicas and fewer, by hand and by the autoscaler, while clients step their sessions and begin new ones."""

from collections.abc import Iterator

import pytest

from tests.bench.report import percentile
from tests.cluster.processes import wait_until
from tests.support.e2e_metrics import Metrics
from tests.support.e2e_moves import PAUSE, Figures, home, moved, otherwise, owner, pauses, twins
from tests.support.e2e_site import Site
from tests.support.e2e_stateful import Stateful, made, spec
from tests.support.e2e_watch import Watch

PULSES = 40
MILLICORES = 500
RESOURCES = {"cpu": f"{MILLICORES}m", "memory": "256Mi"}
"""Of a replica, which serves all clients alone after 5 -> 1: with a quarter of a core the kernel held it back in every
fifth tenth of a second, for 20 ms (`nr_throttled` of its container), and what was measured was that."""
LAG = 0.5
"""Seconds by which a watch may tell late of a record: replicas have heard of it by then, and move."""


@pytest.fixture(scope="module")
def ledger(site: Site) -> Iterator[Stateful]:
    with made(site, 2, resources=RESOURCES) as service:
        yield service


def test_a_resize_by_hand_loses_nothing_and_is_hardly_noticed(ledger: Stateful, figures: Figures, long: bool) -> None:
    resizes: list[tuple[int, int, float, float]] = []
    with ledger.asked("2 -> 5 -> 1 -> 2 by hand", PULSES) as asked:
        size, held = 2, ledger.holders()
        for wanted in (5, 1, 2) * (3 if long else 1):
            ledger.scale(wanted)
            since, until = ledger.settled(wanted)
            resizes.append((size, wanted, since - LAG, until))
            now = ledger.holders()
            for session in now.keys() & held.keys():
                assert now[session] == owner(session, wanted), f"session {session} is not at its place"
                own = home(session)
                if wanted > size and own is not None and own < wanted:
                    assert now[session] in (held[session], own), f"session {session} moved, and not home"
                elif wanted > size:  # Chosen by a client, or of an ordinal that is not there: it goes like any other.
                    assert now[session] in (held[session], *range(size, wanted)), f"{session} moved, to no new one"
            assert len(now.keys() & held.keys()) > PULSES / 2, "so few sessions are there that nothing is shown"
            size, held = wanted, now
    assert twins(asked.ops) > 10
    assert not [beat for beat in asked.beats if "not_ready" in beat.causes], "asked of a replica that still loads"
    usual = percentile(otherwise(asked.beats, [(since, until) for *_, since, until in resizes]), 99)
    for before, after, since, until in resizes:
        sessions = moved({beat.session for beat in asked.beats}, before, after)
        longest = pauses(asked.beats, sessions, since, until)
        assert longest, "no pulse's session moved"
        stayed = pauses(asked.beats, {beat.session for beat in asked.beats} - sessions, since, until)
        took, others = until - since - LAG, percentile(stayed, 99)
        what = (
            f"{before} -> {after} within {took:.1f} s; p99 of those that stayed meanwhile: {others * 1000:.0f} ms, of "
            f"steps at other times: {usual * 1000:.0f} ms"
        )
        figures.add(PAUSE, longest, what, percentile(longest, 99))


def test_the_autoscaler_resizes_through_the_service_itself(
    site: Site, ledger: Stateful, metrics: Metrics, long: bool
) -> None:
    size, used = int(ledger.live()["spec"]["replicas"]), MILLICORES * 60 // 100
    metrics.millicores = size * used
    at_once = {"scaleDown": {"stabilizationWindowSeconds": 0}}
    scaling = {"minReplicas": 1, "maxReplicas": 5, "cpu": {"target": 60}, "behavior": at_once}
    with ledger.asked(f"{size} -> 5 -> 1 by the autoscaler, kill -9 of the operators in the middle"):
        ledger.apply(**spec(site, "ledger", scaling=scaling, resources=RESOURCES))
        with Watch(ledger.cluster, "statefulset", ledger.namespace, ledger.name) as watch:
            metrics.millicores = 5 * used
            watch.until(lambda live: bool(live["spec"]["replicas"] == 5), 60, "to be given more replicas")
        assert ledger.record()["size"] == size, "new replicas are members before they are there"
        site.kill_operator()  # The next leader goes on by what it finds.
        ledger.settled(5)
        metrics.millicores = 10
        if long:
            wait_until(lambda: ledger.record()["size"] == 1, 60, "the record of one member")
            site.kill_operator()
        ledger.settled(1)
    target = ledger.cluster.get("hpa", ledger.name, "--namespace", ledger.namespace)["spec"]["scaleTargetRef"]
    assert target["kind"] == "InferenceService"
    ledger.apply(**spec(site, "ledger", replicas=1, resources=RESOURCES))
