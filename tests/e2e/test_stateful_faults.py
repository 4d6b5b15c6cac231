"""Sessions through crashes of all that can crash: replicas, routers, operators, a node. The checker has the verdict."""

from collections.abc import Iterator

import pytest

from tests.cluster.processes import wait_until
from tests.support.e2e_moves import ANSWER, Asked, Figures, first_answers, goal_of
from tests.support.e2e_site import Site
from tests.support.e2e_stateful import Stateful, names, ready, uids
from tests.support.e2e_subjects import STREAMS, Both, made

SIZE = 3


Crash = tuple[int, float, float]
"""(ordinal, when it was killed, when its pod was ready again)."""


@pytest.fixture(scope="module")
def both(site: Site) -> Iterator[Both]:
    with made(site, SIZE) as services:
        yield services


def test_nothing_is_lost_by_kill_9_of_anyone(site: Site, both: Both, figures: Figures, long: bool) -> None:
    records = both.each(Stateful.record)
    crashes: list[tuple[Crash, Crash]] = []

    def crash(ordinal: int) -> None:
        crashes.append(both.each(lambda service: (ordinal, *service.crash(ordinal))))

    with both.asked("kill -9 of each replica, of a router and of the operators") as asked:
        site.kill_operator()
        crash(0)
        site.take_operator_away()
        try:
            # Nobody is there who could do anything about these.
            both.each(lambda service: service.kill("router", names(service.pods("router"))[0]))
            crash(1)
        finally:
            site.bring_operator_back()
        crash(2)
        for ordinal in (0, 1, 2) if long else ():  # kubelet waits longer each time that a container has ended.
            crash(ordinal)
        both.each(Stateful.settled, SIZE)
    assert both.each(Stateful.record) == records, "a crash is no change of membership"
    for seen, theirs in zip(asked, zip(*crashes, strict=True), strict=True):
        noticed = [add(figures, seen, each) for each in theirs]
        assert sum(noticed) >= STREAMS, f"so few pulses noticed the crashes of replicas: {noticed}"


def add(figures: Figures, asked: Asked, crash: Crash) -> int:
    """How many pulses had their sessions at the replica, of few perhaps none; the figures are of their answers."""
    ordinal, killed, back = crash
    answers = first_answers(asked, ordinal, SIZE, killed)
    if answers:
        waits = [max(0.0, answer - back) for answer in answers.values()]
        since = max(answer - killed for answer in answers.values())
        what = f"replica {ordinal} of {SIZE}, {since:.1f} s after it was killed"
        figures.add(goal_of(ANSWER, asked.subject), waits, what, max(waits))
    return len(answers)


def test_a_drained_node_gives_its_replicas_to_the_other(both: Both) -> None:
    before, records = both.each(Stateful.replicas), both.each(Stateful.record)
    cluster, services = both.ledger.cluster, (both.ledger, both.speech)
    node = next(pod["spec"]["nodeName"] for pod in before[0].values())
    leaving = [{at for at, pod in pods.items() if pod["spec"]["nodeName"] == node} for pods in before]
    with both.asked(f"kubectl drain of {node}, which has replicas {sorted(leaving[0])} and {sorted(leaving[1])}"):
        pods = f"--pod-selector=mooring.dev/inferenceservice in ({','.join(service.name for service in services)})"
        try:
            # Without a node to spare; the other namespaces' pods stay.
            cluster.kubectl("drain", node, pods, "--delete-emptydir-data", "--timeout=120s", timeout=150)
            both.each(Stateful.settled, SIZE)
        finally:
            cluster.kubectl("uncordon", node)
    after = both.each(Stateful.replicas)
    for old, new, gone in zip(before, after, leaving, strict=True):
        assert {pod["spec"]["nodeName"] for pod in new.values()}.isdisjoint({node})
        assert {ordinal for ordinal in new if uids(new)[ordinal] != uids(old)[ordinal]} == gone
    assert both.each(Stateful.record) == records
    wait_until(lambda: [sum(map(ready, service.pods("router"))) for service in services] == [2, 2], 60, "four routers")
