"""What the router itself answers, and what it never does: send a step twice."""

from collections.abc import Iterator

import grpc
import pytest

from tests.support.router_replicas import CLOSES, REFUSES
from tests.support.router_world import BREAKING, GONE, LIVE, World, minted, world_of

pytestmark = [pytest.mark.process, pytest.mark.timeout(60)]

BROKEN = 0
# What a client of Envoy's own may ask of it.
WISHES = {
    "x-envoy-retry-on": "5xx,reset,connect-failure,retriable-4xx",
    "x-envoy-max-retries": "3",
    "x-envoy-hedge-on-per-try-timeout": "true",
    "x-envoy-upstream-rq-timeout-ms": "1",
    "x-envoy-upstream-rq-per-try-timeout-ms": "1",
}


@pytest.fixture(scope="module")
def breaks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A router with a replica that dies of its requests, and one that lives."""
    with world_of(tmp_path_factory.mktemp("envoy"), (BREAKING, LIVE)) as made:
        yield made


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A router without a single replica."""
    with world_of(tmp_path_factory.mktemp("envoy"), (GONE, GONE)) as made:
        yield made


@pytest.fixture(autouse=True)
def forgotten(breaks: World) -> None:
    breaks.broken.clear()
    breaks.replicas[1].forget()


def test_what_was_sent_and_not_answered_is_sent_to_nobody_else(breaks: World) -> None:
    answer = breaks.step(BROKEN)
    assert breaks.broken == ["http"]
    assert breaks.reached() == []
    assert answer.status == 504
    assert answer.headers["content-type"] == "application/json"
    assert "retry-after" not in answer.headers
    assert set(answer.document) == {"error", "cause", "applied"}
    assert (answer.document["cause"], answer.document["applied"]) == ("outcome-unknown", "unknown")


def test_so_it_is_over_grpc_in_trailers(breaks: World) -> None:
    called = breaks.call(BROKEN)
    assert breaks.broken == ["grpc"]
    assert breaks.reached() == []
    # Not UNAVAILABLE, which clients repeat by themselves.
    assert called.status == grpc.StatusCode.DEADLINE_EXCEEDED
    assert (called.metadata["mooring-cause"], called.metadata["mooring-applied"]) == ("outcome-unknown", "unknown")


def test_no_client_can_wish_for_retries(breaks: World, world: World) -> None:
    assert breaks.ask("/", {"x-mooring-session": minted(BROKEN), **WISHES}, b"x").status == 504
    assert breaks.broken == ["http"]
    assert breaks.reached() == []
    assert world.ask(CLOSES, {"x-mooring-session": minted(0), **WISHES}, b"x").status == 504
    assert world.ask(REFUSES, {"x-mooring-session": minted(0), **WISHES}, b"x").status == 400
    assert world.reached() == [CLOSES, REFUSES]


def test_where_nobody_is_nothing_was_done_and_that_is_said(empty: World) -> None:
    for answer in (empty.step(0), empty.step(7), empty.ask()):
        assert answer.status == 503
        assert answer.headers["retry-after"] == "1"
        assert answer.headers["content-type"] == "application/json"
        assert set(answer.document) == {"error", "cause", "applied"}
        assert (answer.document["cause"], answer.document["applied"]) == ("owner-down", "no")


def test_so_it_is_over_grpc(empty: World) -> None:
    called = empty.call(0)
    assert called.status == grpc.StatusCode.UNAVAILABLE
    assert (called.metadata["mooring-cause"], called.metadata["mooring-applied"]) == ("owner-down", "no")
    assert "no replica could be reached" in called.details


def test_what_a_replica_answers_passes_as_it_is(world: World) -> None:
    answer = world.step(0, REFUSES)
    assert (answer.status, answer.replica) == (400, world.addresses[0])
    assert not {name for name in answer.headers if name.startswith("x-envoy")}
    assert answer.headers["server"].startswith("BaseHTTP")


def test_what_a_client_does_wrong_is_its_own_fault(world: World) -> None:
    answer = world.ask("/", {"x-long": "a" * 100_000})
    assert answer.status == 431
    assert (answer.document["cause"], answer.document["applied"]) == ("invalid", "no")
    assert world.reached() == []


def test_what_traces_and_proxies_write_arrives(world: World) -> None:
    theirs = {
        "x-request-id": "mine",
        "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        "tracestate": "vendor=1",
        "x-forwarded-for": "203.0.113.7",
    }
    world.ask("/", {"x-mooring-session": minted(0), **theirs}, b"x")
    [seen] = world.replicas[0].seen
    assert {name: seen.headers[name] for name in ("x-request-id", "traceparent", "tracestate")} == {
        name: value for name, value in theirs.items() if name != "x-forwarded-for"
    }
    first, *more = seen.headers["x-forwarded-for"].split(",")
    assert (first, len(more)) == ("203.0.113.7", 1)


def test_a_request_without_an_id_gets_one(world: World) -> None:
    world.step(0)
    [seen] = world.replicas[0].seen
    assert seen.headers["x-request-id"]


def test_paths_arrive_as_they_were_sent(world: World) -> None:
    for path in ("/v2/sessions/a%2Fb", "/v2/sessions/%2E%2E", "/v2//x", "/v2/a/../b?c=%20"):
        world.step(0, path)
    assert world.reached() == ["/v2/sessions/a%2Fb", "/v2/sessions/%2E%2E", "/v2//x", "/v2/a/../b?c=%20"]
