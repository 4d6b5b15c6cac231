"""Sessions through crashes of all that can crash: replicas, routers, operators, a node. The checker has the verdict."""

from collections.abc import Iterator

import pytest

from tests.cluster.processes import wait_until
from tests.support.e2e_moves import ANSWER, Figures, first_answers
from tests.support.e2e_site import Site
from tests.support.e2e_stateful import Stateful, made, names, ready, uids

SIZE = 3


@pytest.fixture(scope="module")
def ledger(site: Site) -> Iterator[Stateful]:
    with made(site, SIZE) as service:
        yield service


def test_nothing_is_lost_by_kill_9_of_anyone(site: Site, ledger: Stateful, figures: Figures, long: bool) -> None:
    record, crashes = ledger.record(), []
    with ledger.asked("kill -9 of each replica, of a router and of the operators") as asked:
        site.kill_operator()
        crashes.append((0, *ledger.crash(0)))
        site.take_operator_away()
        try:
            # Nobody is there who could do anything about these.
            ledger.kill("router", names(ledger.pods("router"))[0])
            crashes.append((1, *ledger.crash(1)))
        finally:
            site.bring_operator_back()
        crashes.append((2, *ledger.crash(2)))
        # kubelet waits longer each time that a container has ended.
        crashes.extend((ordinal, *ledger.crash(ordinal)) for ordinal in ((0, 1, 2) if long else ()))
        ledger.settled(SIZE)
    assert ledger.record() == record, "a crash is no change of membership"
    for ordinal, killed, back in crashes:
        answers = first_answers(asked.beats, ordinal, SIZE, killed)
        assert answers, f"no pulse had its session at replica {ordinal}"
        waits = [max(0.0, answer - back) for answer in answers.values()]
        since = max(answer - killed for answer in answers.values())
        figures.add(ANSWER, waits, f"replica {ordinal} of {SIZE}, {since:.1f} s after it was killed", max(waits))


def test_a_drained_node_gives_its_replicas_to_the_other(ledger: Stateful) -> None:
    before, record = ledger.replicas(), ledger.record()
    node = next(pod["spec"]["nodeName"] for pod in before.values())
    leaving = {ordinal for ordinal, pod in before.items() if pod["spec"]["nodeName"] == node}
    with ledger.asked(f"kubectl drain of {node}, which has replicas {sorted(leaving)}"):
        pods = f"--pod-selector=mooring.dev/inferenceservice={ledger.name}"
        try:
            # Without a node to spare; the other namespaces' pods stay.
            ledger.cluster.kubectl("drain", node, pods, "--delete-emptydir-data", "--timeout=120s", timeout=150)
            ledger.settled(SIZE)
        finally:
            ledger.cluster.kubectl("uncordon", node)
    after = ledger.replicas()
    assert {pod["spec"]["nodeName"] for pod in after.values()}.isdisjoint({node})
    assert {ordinal for ordinal in after if uids(after)[ordinal] != uids(before)[ordinal]} == leaving
    assert ledger.record() == record
    wait_until(lambda: sum(map(ready, ledger.pods("router"))) == 2, 60, "two routers")
