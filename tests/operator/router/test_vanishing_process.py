"""Packets that vanish on connections that are open, as when a node loses its power: an answer soon, no step twice."""

import time
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest

from tests.support.router_replicas import ECHO
from tests.support.router_vanishing import vanished
from tests.support.router_world import LIVE, World, channel, minted, world_of

pytestmark = [pytest.mark.process, pytest.mark.timeout(120)]

AWAY, OTHER = 0, 1
SOON = 20.0
"""Seconds. The router waits for 5; without its own limit the kernel's would be a quarter of an hour."""
BEFORE, AFTER = 8, 3
"""Requests; after the first ones each of the router's threads surely has a connection of its own."""


@pytest.fixture
def own(tmp_path: Path) -> Iterator[World]:
    with world_of(tmp_path, (LIVE, LIVE)) as made:
        yield made


def test_a_step_that_vanishes_is_told_and_never_done(own: World) -> None:
    router = own.envoy.router
    for number in range(BEFORE):
        assert own.step(AWAY, f"/before/{number}").replica == own.addresses[AWAY]
    unknown = []
    with vanished(own.addresses[AWAY], router.http_port, router.grpc_port):
        for number in range(AFTER):
            began = time.monotonic()
            answer = own.step(AWAY, f"/after/{number}")
            assert time.monotonic() - began < SOON
            if answer.status == 504:
                assert (answer.document["cause"], answer.document["applied"]) == ("outcome-unknown", "unknown")
                unknown.append(f"/after/{number}")
            else:
                assert (answer.status, answer.replica) == (200, own.addresses[OTHER])
        # At most one for each connection that was open: nobody is sent there any more.
        assert 1 <= len(unknown) <= len(router_threads(own))
    late = [seen.path for seen in own.replicas[AWAY].seen if seen.path.startswith("/after")]
    assert late == []
    done = [path for path in own.reached() if path.startswith("/after")]
    assert sorted([*done, *unknown]) == [f"/after/{number}" for number in range(AFTER)]


def router_threads(world: World) -> range:
    return range(world.envoy.stat("server.concurrency"))


def test_so_it_is_over_grpc(own: World) -> None:
    router = own.envoy.router
    with channel(own) as made:
        method = made.unary_unary(ECHO)

        def called(ordinal: int) -> grpc.Call:
            try:
                _, call = method.with_call(b"x", metadata=(("x-mooring-session", minted(ordinal)),), timeout=60)
            except grpc.RpcError as error:
                return error
            return call

        assert called(AWAY).code() == grpc.StatusCode.OK
        with vanished(own.addresses[AWAY], router.http_port, router.grpc_port):
            began = time.monotonic()
            lost = called(AWAY)
            assert time.monotonic() - began < SOON
            assert lost.code() == grpc.StatusCode.DEADLINE_EXCEEDED
            assert dict(lost.trailing_metadata())["mooring-applied"] == "unknown"
            found = called(AWAY)
            assert found.code() == grpc.StatusCode.OK
            assert dict(found.initial_metadata())["replica"] == own.addresses[OTHER]
    assert (len(own.replicas[AWAY].seen), len(own.replicas[OTHER].seen)) == (1, 1)
