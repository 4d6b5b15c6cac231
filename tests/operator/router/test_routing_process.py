"""Which replica the real Envoy chooses, and that it finds one that lives."""

import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from mooring_operator.desired import envoy
from tests.support.router_world import GONE as NOT_THERE
from tests.support.router_world import LIVE, LOADING, World, minted, world_of

pytestmark = [pytest.mark.process, pytest.mark.timeout(60)]

GONE, REFUSING, SILENT, BEYOND = 2, 3, 4, 70
SLOW = 4.0
"""Seconds that tell an attempt that was given up in time from one that was not: Envoy's own time to connect is 5 s,
the kernel's two minutes. How fast it really is says the number of attempts, for each has 0.25 s."""


def test_the_files_are_taken(world: World) -> None:
    for what in ("listener_manager.lds", "cluster_manager.cds"):
        assert world.envoy.stat(f"{what}.update_success") == 1
        assert world.envoy.stat(f"{what}.update_rejected") == 0
    # Four are in DNS, each there by its own name and as one that is ready.
    for cluster in ("http", "grpc"):
        assert world.envoy.stat(f"cluster.{cluster}.membership_total") == 8


@pytest.mark.parametrize("ordinal", [0, 1])
def test_a_session_goes_to_the_replica_that_made_it(world: World, ordinal: int) -> None:
    answers = [world.step(ordinal) for _ in range(6)]
    assert {answer.replica for answer in answers} == {world.addresses[ordinal]}
    assert {answer.headers["x-mooring-session"] for answer in answers} == {minted(ordinal)}


@pytest.mark.parametrize("ordinal", [0, 1])
def test_so_it_does_by_cookie(world: World, ordinal: int) -> None:
    cookie = {"cookie": f"theme=dark; mooring-session={minted(ordinal)}; other=1"}
    assert {world.ask(headers=cookie).replica for _ in range(6)} == {world.addresses[ordinal]}


def test_a_header_wins_over_a_cookie_and_the_replica_sees_both(world: World) -> None:
    both = {"x-mooring-session": minted(1), "cookie": f"mooring-session={minted(0)}"}
    assert {world.ask(headers=both).replica for _ in range(6)} == {world.addresses[1]}
    [first, *_] = world.replicas[1].seen
    assert first.headers["x-mooring-session"] == minted(1)
    assert first.headers["cookie"] == f"mooring-session={minted(0)}"


@pytest.mark.parametrize("name", ["new", "0", "demo-1", "chosen", "0-u5hnllxnhadcinzlztyhoubnr4", "caf\u00e9", ""])
def test_any_other_id_goes_to_any_replica(world: World, name: str) -> None:
    # `new` beside the cookie of an old session begins another one, which need not be where that was.
    headers = {"x-mooring-session": name, "cookie": f"mooring-session={minted(0) if name == 'new' else name}"}
    assert asked_for_long(world, headers) == {world.addresses[0], world.addresses[1]}


def test_without_an_id_any_replica_is_asked(world: World) -> None:
    assert asked_for_long(world, {}) == {world.addresses[0], world.addresses[1]}


def asked_for_long(world: World, headers: dict[str, str]) -> set[object]:
    """The replicas that are found with these headers, until there are two of them."""
    found: set[object] = set()
    for _ in range(40):
        found.add(world.ask(headers=headers).replica)
        if len(found) > 1:
            break
    return found


@pytest.mark.parametrize("ordinal", [GONE, REFUSING, SILENT, BEYOND])
def test_where_the_replica_is_not_there_another_one_is_asked_and_once(world: World, ordinal: int) -> None:
    for _ in range(6):
        before = len(world.reached())
        began = time.monotonic()
        answer = world.step(ordinal)
        assert time.monotonic() - began < SLOW
        assert answer.status == 200
        assert answer.replica in {world.addresses[0], world.addresses[1]}
        assert len(world.reached()) == before + 1


@pytest.mark.parametrize(("ordinal", "most"), [(0, 0), (REFUSING, 5), (SILENT, 5)])
def test_few_attempts_are_enough(world: World, ordinal: int, most: int) -> None:
    before = world.envoy.stat("cluster.http.upstream_rq_retry")
    world.step(ordinal)
    assert world.envoy.stat("cluster.http.upstream_rq_retry") - before <= most


@pytest.fixture(scope="module")
def coming(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """One replica is ready, one still loads its model, one is not there."""
    with world_of(tmp_path_factory.mktemp("envoy"), (LIVE, LOADING, NOT_THERE)) as made:
        yield made


def test_only_its_own_sessions_come_to_a_replica_that_is_not_ready(coming: World) -> None:
    assert {coming.step(1).replica for _ in range(6)} == {coming.addresses[1]}
    for headers in ({}, {"x-mooring-session": "new"}, {"x-mooring-session": "chosen"}, {"cookie": "mooring-session=1"}):
        assert {coming.ask(headers=headers).replica for _ in range(6)} == {coming.addresses[0]}
    for ordinal in (2, 70):
        assert {coming.step(ordinal).replica for _ in range(6)} == {coming.addresses[0]}


def test_where_none_is_ready_one_that_is_not_says_so(tmp_path: Path) -> None:
    with world_of(tmp_path, (LOADING, LOADING)) as nobody:
        assert {nobody.ask().replica for _ in range(4)} <= {*nobody.addresses}
        assert nobody.step(1).replica == nobody.addresses[1]
        assert nobody.step(70).replica in nobody.addresses


def test_a_long_body_is_sent_again_whole_when_nobody_took_it(world: World) -> None:
    body = bytes(range(256)) * (3 * 2**12)
    answer = world.step(REFUSING, body=body)
    assert (answer.status, answer.document["bytes"]) == (200, len(body))
    [seen] = [each for replica in world.replicas.values() for each in replica.seen]
    assert seen.body == body


def test_there_is_no_limit_of_a_body_here(world: World) -> None:
    body = b"x" * 24 * 2**20
    assert world.step(0, body=body).document["bytes"] == len(body)
    assert world.ask("/", {"x-mooring-session": minted(1)}, iter([body] * 2)).document["bytes"] == 2 * len(body)


def test_old_clients_are_served_too(world: World) -> None:
    router = world.envoy.router.listen
    with socket.create_connection((router.host, router.port), timeout=20) as connection:
        connection.sendall(f"GET /old HTTP/1.0\r\nX-Mooring-Session: {minted(1)}\r\n\r\n".encode())
        answer = b"".join(iter(lambda: connection.recv(4096), b""))
    assert b" 200 OK\r\n" in answer
    assert world.replicas[1].seen[0].path == "/old"


def test_names_are_asked_for_as_they_are_written(world: World) -> None:
    known = {*world.envoy.router.replicas, world.envoy.router.ready}
    assert set(world.names.asked) == known
    assert envoy.READY_PATH not in world.reached()
