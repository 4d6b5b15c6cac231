"""Streams pass the router piece by piece."""

import http.client
import queue

import grpc
import pytest

from tests.support.router_replicas import ECHO_STREAM, EVENTS
from tests.support.router_world import World, channel, minted

pytestmark = [pytest.mark.process, pytest.mark.timeout(60)]


def test_an_event_arrives_before_the_next_one_is_made(world: World) -> None:
    connection = http.client.HTTPConnection(world.envoy.target, timeout=20)
    connection.request("GET", EVENTS, headers={"x-mooring-session": minted(0)})
    answer = connection.getresponse()
    assert answer.read(9) == b"data: 1\n\n"
    world.replicas[0].go_on.set()
    assert answer.read() == b"data: 2\n\n"
    connection.close()


@pytest.mark.parametrize("ordinal", [0, 1])
def test_grpc_goes_to_the_replica_that_made_the_session(world: World, ordinal: int) -> None:
    called = world.call(ordinal)
    assert (called.status, called.metadata["replica"]) == (grpc.StatusCode.OK, world.addresses[ordinal])


@pytest.mark.parametrize("ordinal", [2, 3, 4])
def test_or_to_one_that_lives(world: World, ordinal: int) -> None:
    called = world.call(ordinal)
    assert (called.status, len(world.reached())) == (grpc.StatusCode.OK, 1)


@pytest.mark.parametrize("ordinal", [1, 3])
def test_a_stream_goes_to_and_fro_message_by_message(world: World, ordinal: int) -> None:
    said: queue.Queue[bytes | None] = queue.Queue()
    with channel(world) as made:
        metadata = (("x-mooring-session", minted(ordinal)),)
        answers = made.stream_stream(ECHO_STREAM)(iter(said.get, None), metadata=metadata, timeout=20)
        for message in (b"one", b"two", b"three"):
            said.put(message)
            assert next(answers) == message
        said.put(None)
        assert list(answers) == []
        assert answers.code() == grpc.StatusCode.OK
    assert world.reached() == [ECHO_STREAM]


def test_several_clients_share_nothing(world: World) -> None:
    found = [world.call(ordinal).metadata["replica"] for ordinal in (0, 1) * 4]
    assert found == [world.addresses[ordinal] for ordinal in (0, 1) * 4]
