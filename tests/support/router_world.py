"""A router, its replicas and their names on loopback; and clients of it."""

import http.client
import itertools
import json
import os
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import grpc

from mooring_operator.desired import envoy
from tests.support.ports import free_ports
from tests.support.router_names import Names
from tests.support.router_process import Running, running
from tests.support.router_replicas import ECHO, Replica, breaking, frozen, pulse, replica, silent

LIVE, LOADING, GONE, REFUSING, SILENT = "live", "loading", "gone", "refusing", "silent"
BREAKING, FROZEN = "breaking", "frozen"
"""One that loads answers, and is not ready; one that refuses, is silent, breaks or is frozen was ready a moment ago."""
SETTLE_SECONDS = 1
CHECK_SECONDS = 0.5
TOLD_SECONDS = 0.3
"""From when Envoy counts a replica as one that answers until each of its threads surely goes by it."""
_networks = itertools.count(os.getpid() * 7)


@dataclass(frozen=True)
class Answer:
    """What a client got."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def document(self) -> dict[str, object]:
        found: dict[str, object] = json.loads(self.body)
        return found

    @property
    def replica(self) -> object:
        """The address of the replica that answered."""
        return self.document["replica"]


@dataclass(frozen=True)
class Called:
    """What a client of gRPC got."""

    status: grpc.StatusCode
    details: str
    metadata: Mapping[str, str]
    """Initial and trailing."""


@dataclass(frozen=True)
class World:
    """Everything that a test of the router needs."""

    envoy: Running
    names: Names
    addresses: tuple[str, ...]
    """By ordinal, also of those that are not there."""
    replicas: dict[int, Replica]
    """Those that live."""
    alive: dict[int, threading.Event]
    """Those that are there; one whose event is clear leaves it open whether it lives."""
    broken: list[str]
    """What the replica that dies of its requests has read."""

    def ask(
        self, path: str = "/", headers: Mapping[str, str] | None = None, body: bytes | Iterable[bytes] | None = None
    ) -> Answer:
        """Asks the router, on a connection of its own."""
        connection = http.client.HTTPConnection(self.envoy.target, timeout=20)
        try:
            connection.request("GET" if body is None else "POST", path, body, dict(headers or {}))
            got = connection.getresponse()
            return Answer(got.status, {k.lower(): v for k, v in got.getheaders()}, got.read())
        finally:
            connection.close()

    def step(self, ordinal: int, path: str = "/", body: bytes = b"x") -> Answer:
        """Asks for a session that the replica of this ordinal made."""
        return self.ask(path, {"x-mooring-session": minted(ordinal)}, body)

    def call(self, ordinal: int) -> Called:
        """Asks by gRPC for a session that the replica of this ordinal made."""
        with channel(self) as made:
            try:
                method = made.unary_unary(ECHO)
                _, call = method.with_call(b"x", metadata=(("x-mooring-session", minted(ordinal)),), timeout=20)
            except grpc.RpcError as error:
                call = error
            return Called(call.code(), call.details(), dict((*call.initial_metadata(), *call.trailing_metadata())))

    def counts(self, healthy: int) -> None:
        """Waits until the router has so many addresses that answer, and goes by them."""
        stats = [f"cluster.{cluster}.membership_healthy" for cluster in ("http", "grpc")]
        self.envoy.wait(lambda: all(self.envoy.stat(stat) == healthy for stat in stats), f"{healthy} that answer")
        time.sleep(TOLD_SECONDS)

    def reached(self) -> list[str]:
        """The paths of all requests that reached a replica that lives."""
        return [seen.path for each in self.replicas.values() for seen in each.seen]


def minted(ordinal: int) -> str:
    """An id as that replica makes it."""
    return f"{ordinal}.u5hnllxnhadcinzlztyhoubnr4"


def channel(world: World) -> grpc.Channel:
    """A connection of gRPC to the router."""
    return grpc.insecure_channel(world.envoy.target, options=(("grpc.enable_http_proxy", 0),))


@contextmanager
def world_of(folder: Path, states: Sequence[str]) -> Iterator[World]:
    """A router in front of replicas in these states, by ordinal."""
    # A network of its own: what listens for another test must not answer here.
    network = f"127.{64 + next(_networks) % 190}.{os.getpid() % 250}"
    addresses = tuple(f"{network}.{ordinal + 1}" for ordinal in range(len(states)))
    there = {ordinal: addresses[ordinal] for ordinal, state in enumerate(states) if state != GONE}
    zone = {host(ordinal): [address] for ordinal, address in there.items()}
    http_port, grpc_port, live_port, listen, status, admin = free_ports(6)
    with ExitStack() as stack:
        ready = [address for ordinal, address in there.items() if states[ordinal] != LOADING]
        names = stack.enter_context(Names({**zone, READY: ready} if ready else zone))
        replicas: dict[int, Replica] = {}
        broken: list[str] = []
        alive = {
            ordinal: stack.enter_context(pulse(address, live_port, alive=states[ordinal] != FROZEN))
            for ordinal, address in there.items()
        }
        for ordinal, state in enumerate(states):
            ports = (addresses[ordinal], http_port, grpc_port)
            if state in {LIVE, LOADING}:
                replicas[ordinal] = stack.enter_context(replica(*ports))
            elif state == SILENT:
                stack.enter_context(silent(*ports))
            elif state == FROZEN:
                stack.enter_context(frozen(*ports))
            elif state == BREAKING:
                broken = stack.enter_context(breaking(*ports))
        router = envoy.Router(
            service="demo",
            replicas=tuple(host(ordinal) for ordinal in range(len(states))),
            ready=READY,
            http_port=http_port,
            grpc_port=grpc_port,
            live_port=live_port,
            check_seconds=CHECK_SECONDS,
            patience_seconds=CHECK_SECONDS,
            listen=envoy.Address("127.0.0.1", listen),
            status=envoy.Address("127.0.0.1", status),
            admin=envoy.Address("127.0.0.1", admin),
            folder=str(folder),
            settle_seconds=SETTLE_SECONDS,
            resolvers=(envoy.Address(*names.address),),
        )
        envoy_of = stack.enter_context(running(router))
        # By its own name, and as one that is ready. It is ready before it has heard of all of them.
        well = sum(1 + (address in ready) for ordinal, address in there.items() if states[ordinal] != FROZEN)
        made = World(envoy_of, names, addresses, replicas, alive, broken)
        made.counts(well)
        yield made


READY = "demo-ready.test"


def host(ordinal: int) -> str:
    """The name of a replica."""
    return f"demo-{ordinal}.demo-peers.test"
