"""More replicas and fewer, by hand and by the autoscaler, while clients step their sessions and begin new ones."""

from collections.abc import Iterator, Sequence

import pytest

from tests.bench.report import percentile
from tests.cluster.processes import wait_until
from tests.support.e2e_metrics import Metrics
from tests.support.e2e_moves import PAUSE, Asked, Figures, goal_of, home, moved, otherwise, owner, pauses, twins
from tests.support.e2e_sessions import SUBJECTS
from tests.support.e2e_site import Site
from tests.support.e2e_stateful import Stateful
from tests.support.e2e_subjects import Both, made
from tests.support.e2e_watch import Watch

PULSES, SOUNDS = 40, 16
MILLICORES = 500
RESOURCES = {"cpu": f"{MILLICORES}m", "memory": "256Mi"}
"""Of a replica, which serves all clients alone after 5 -> 1: with a quarter of a core the kernel held it back in every
fifth tenth of a second, for 20 ms (`nr_throttled` of its container), and what was measured was that."""
LAG = 0.5
"""Seconds by which a watch may tell late of a record: replicas have heard of it by then, and move."""
Resize = tuple[int, int, float, float]
"""(members before, after, since when sessions moved, until when)."""


@pytest.fixture(scope="module")
def both(site: Site) -> Iterator[Both]:
    with made(site, 2, resources=RESOURCES) as services:
        yield services


def test_a_resize_by_hand_loses_nothing_and_is_hardly_noticed(both: Both, figures: Figures, long: bool) -> None:
    # One behind the other, and nobody asks the other one meanwhile: on these cores its pods and its clients would slow
    # the moves, and those are timed.
    for service, counts in ((both.ledger, (PULSES, 0)), (both.speech, (0, SOUNDS))):
        title = f"2 -> 5 -> 1 -> 2 by hand, {SUBJECTS[service.name].title}"
        resizes: list[Resize] = []
        with both.asked(title, *counts) as asked:
            size, held = 2, service.holders()
            for wanted in (5, 1, 2) * (3 if long else 1):
                resizes.append(resized(service, size, wanted))
                now = service.holders()
                check_places(service, held, now, size, wanted)
                assert len(now.keys() & held.keys()) > max(counts) / 2, (
                    "so few sessions are there that nothing is shown"
                )
                size, held = wanted, now
        seen = asked[0] if service is both.ledger else asked[1]
        assert service is both.speech or twins(seen.ops) > 10
        assert not [beat for beat in seen.beats if "not_ready" in beat.causes], "asked of a replica that still loads"
        assert all(add(figures, seen, each, resizes) for each in resizes), "no session moved"


def resized(service: Stateful, before: int, wanted: int) -> Resize:
    """As a person does it."""
    service.scale(wanted)
    since, until = service.settled(wanted)
    return before, wanted, since - LAG, until


def check_places(service: Stateful, held: dict[str, int], now: dict[str, int], size: int, wanted: int) -> None:
    """Each session that was there before the resize is where it should be, and no other one than had to has moved."""
    for session in now.keys() & held.keys():
        assert now[session] == owner(session, wanted, SUBJECTS[service.name]), f"session {session} is not at its place"
        own = home(session)
        if wanted > size and own is not None and own < wanted:
            assert now[session] in (held[session], own), f"session {session} moved, and not home"
        elif wanted > size:  # Chosen by a client, or of an ordinal that is not there: it goes like any other.
            assert now[session] in (held[session], *range(size, wanted)), f"{session} moved, to no new one"


def add(figures: Figures, asked: Asked, resize: Resize, resizes: Sequence[Resize]) -> int:
    """How many pulses' sessions moved in a resize; the figures are of their pauses."""
    before, after, since, until = resize
    everyone = {beat.session for beat in asked.beats}
    sessions = moved(everyone, before, after, asked.subject)
    longest = pauses(asked.beats, sessions, since, until)
    if longest:
        usual = percentile(otherwise(asked.beats, [(since, until) for *_, since, until in resizes]), 99)
        stayed = pauses(asked.beats, everyone - sessions, since, until)
        others = f"{percentile(stayed, 99) * 1000:.0f} ms" if stayed else "none stayed"
        what = (
            f"{before} -> {after} within {until - since - LAG:.1f} s; p99 of those that stayed meanwhile: {others}, of "
            f"steps at other times: {usual * 1000:.0f} ms"
        )
        figures.add(goal_of(PAUSE, asked.subject), longest, what, percentile(longest, 99))
    return len(longest)


def test_the_autoscaler_resizes_through_the_service_itself(
    site: Site, both: Both, metrics: Metrics, long: bool
) -> None:
    # Autoscalers compare with what pods ask for, and these ask for half of it.
    size, used = int(both.ledger.live()["spec"]["replicas"]), MILLICORES // 2 * 60 // 100
    metrics.millicores = size * used
    at_once = {"scaleDown": {"stabilizationWindowSeconds": 0}}
    scaling = {"minReplicas": 1, "maxReplicas": 5, "cpu": {"target": 60}, "behavior": at_once}
    with both.asked(f"{size} -> 5 -> 1 by the autoscaler, kill -9 of the operators in the middle"):
        both.apply(site, scaling=scaling, resources=RESOURCES)
        metrics.millicores = 5 * used  # Of each.
        both.each(grown, size)
        site.kill_operator()  # The next leader goes on by what it finds.
        both.each(Stateful.settled, 5)
        metrics.millicores = 10
        if long:
            wait_until(
                lambda: {each["size"] for each in both.each(Stateful.record)} == {1}, 60, "records of one member"
            )
            site.kill_operator()
        both.each(Stateful.settled, 1)
    for service in (both.ledger, both.speech):
        target = service.cluster.get("hpa", service.name, "--namespace", service.namespace)["spec"]["scaleTargetRef"]
        assert target["kind"] == "InferenceService"
    both.apply(site, replicas=1, resources=RESOURCES)


def grown(service: Stateful, size: int) -> None:
    """Waits until the autoscaler has given it more pods, which are no members yet."""
    with Watch(service.cluster, "statefulset", service.namespace, service.name) as watch:
        watch.until(lambda live: bool(live["spec"]["replicas"] == 5), 60, "to be given more replicas")
    assert service.record()["size"] == size, "new replicas are members before they are there"
