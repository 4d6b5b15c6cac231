"""A replica whose process hangs while its kernel goes on: nobody waits for it, and what it has begun is left to it."""

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest

from tests.support.router_replicas import WAITS
from tests.support.router_world import FROZEN, LIVE, READY, Answer, World, world_of

pytestmark = [pytest.mark.process, pytest.mark.timeout(60)]

SOON = 4.0
"""Seconds; the router would wait for 300 for a byte of the answer."""


@pytest.fixture
def half(tmp_path: Path) -> Iterator[World]:
    """Two replicas, of which the second hangs, and kubelet has not noticed."""
    with world_of(tmp_path, (LIVE, FROZEN)) as made:
        yield made


def test_the_sessions_of_a_replica_that_hangs_are_asked_of_another_one(half: World) -> None:
    began = time.monotonic()
    assert [half.step(1).replica for _ in range(4)] == [half.addresses[0]] * 4
    assert [half.ask().replica for _ in range(4)] == [half.addresses[0]] * 4
    called = half.call(1)
    assert time.monotonic() - began < SOON
    assert (called.status, called.metadata["replica"]) == (grpc.StatusCode.OK, half.addresses[0])


def test_where_there_is_no_other_one_it_is_said_at_once(half: World) -> None:
    half.names.zone[READY] = []
    half.counts(1)
    began = time.monotonic()
    answer, called = half.step(1), half.call(1)
    assert time.monotonic() - began < SOON
    assert (answer.status, answer.headers["retry-after"]) == (503, "1")
    assert (answer.document["cause"], answer.document["applied"]) == ("owner-down", "no")
    assert (called.status, called.metadata["mooring-applied"]) == (grpc.StatusCode.UNAVAILABLE, "no")
    # A replica that is not ready, and answers, is asked for its own sessions as ever.
    assert half.step(0).replica == half.addresses[0]


def test_a_long_step_has_its_answer_all_the_same_and_the_next_one_goes_there_again(tmp_path: Path) -> None:
    with world_of(tmp_path, (LIVE, LIVE)) as busy:
        answers: list[Answer] = []
        thread = threading.Thread(target=lambda: answers.append(busy.step(1, WAITS)))
        thread.start()
        assert busy.replicas[1].waits.wait(20)
        began = time.monotonic()
        busy.alive[1].clear()
        busy.counts(2)
        assert time.monotonic() - began > 2 * busy.envoy.router.patience_seconds, "one slow answer is not enough"
        assert busy.step(1).replica == busy.addresses[0]
        busy.alive[1].set()
        busy.replicas[1].go_on.set()
        thread.join()
        assert [(answer.status, answer.replica) for answer in answers] == [(200, busy.addresses[1])]
        busy.counts(4)
        assert busy.step(1).replica == busy.addresses[1]


def test_one_that_nobody_has_asked_yet_is_missed_as_well(half: World) -> None:
    half.alive[0].clear()
    half.counts(0)
    assert half.ask().status == 503
