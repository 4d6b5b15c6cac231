"""Envoy with the files that the operator renders, before real replicas with the variables that it renders."""

import json
import os
import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tritonclient.grpc
import tritonclient.http

from mooring_operator.api import names
from mooring_operator.api.membership import Record
from mooring_operator.desired import envoy
from tests.cluster.processes import wait_until
from tests.support import state_models
from tests.support.ports import free_ports
from tests.support.rendered import children, containers, environment
from tests.support.router_names import Names
from tests.support.router_process import running
from tests.support.router_world import Answer, World
from tests.support.runtime_process import Runtime

pytestmark = pytest.mark.timeout(120)

SIZE = 2
SPEC = {"model": {"uri": "pvc://models/sum.onnx"}, "state": {"volume": {"size": "1Gi"}}}
INFER = "/v2/models/sum/infer"
AGE = 0.6
SOON = 2.0
"""Seconds."""


class Replicas:
    """The replicas as processes: variables of the pod, but for what only a pod has."""

    def __init__(self, folder: Path) -> None:
        self.network = f"127.{64 + os.getpid() % 64}.{os.getpid() // 64 % 250}"
        self.http, self.grpc, self.peers = free_ports(3)
        self.processes: dict[int, Runtime] = {}
        self._folder = folder
        self._model = state_models.accumulator(folder / "sum.onnx")
        (folder / "token").write_text("a shared word")
        (folder / "record.json").write_text(Record(epoch=1, size=SIZE).to_json())

    def address(self, ordinal: int) -> str:
        return f"{self.network}.{ordinal}"

    def start(self, ordinal: int) -> None:
        [server] = containers(children("sum", SPEC))
        volume = self._folder / f"volume-{ordinal}"
        volume.mkdir(exist_ok=True)
        here = {
            "MOORING_HOST": self.address(ordinal),
            names.ENV_HTTP_PORT: str(self.http),
            names.ENV_GRPC_PORT: str(self.grpc),
            names.ENV_METRICS_PORT: "0",
            names.ENV_PEER_PORT: str(self.peers),
            names.ENV_PEER_ADDRESS: f"http://{self.network}.{{ordinal}}:{self.peers}",
            names.ENV_PEER_TOKEN_FILE: str(self._folder / "token"),
            names.ENV_MEMBERSHIP_FILE: str(self._folder / "record.json"),
            names.ENV_MODEL_PATH: str(self._model),
            names.ENV_SESSION_PATH: str(volume),
            names.ENV_ORDINAL: str(ordinal),
            names.ENV_DRAIN_SECONDS: "0",
            "MOORING_CONNECTION_MAX_AGE": f"{AGE}s",  # Soon enough for every test to see it.
            "MOORING_TERMINATION_LOG": str(self._folder / f"end-{ordinal}"),
        }
        self.processes[ordinal] = Runtime("serve", {**environment(server), **here})
        self.processes[ordinal].line("ready")

    def kill(self, ordinal: int) -> None:
        self.processes.pop(ordinal).end()

    def end(self) -> None:
        for ordinal in list(self.processes):
            self.kill(ordinal)


@pytest.fixture(scope="module")
def replicas(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Replicas]:
    made = Replicas(tmp_path_factory.mktemp("replicas"))
    try:
        for ordinal in range(SIZE):
            made.start(ordinal)
        yield made
    finally:
        made.end()


@pytest.fixture(scope="module")
def world(replicas: Replicas, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    addresses = tuple(replicas.address(ordinal) for ordinal in range(SIZE))
    hosts = tuple(f"sum-{ordinal}.sum-peers.test" for ordinal in range(SIZE))
    zone = {host: [address] for host, address in zip(hosts, addresses, strict=True)}
    listen, status, admin = free_ports(3)
    with ExitStack() as stack:
        dns = stack.enter_context(Names({**zone, "sum-ready.test": list(addresses)}))
        router = envoy.Router(
            service="sum",
            replicas=hosts,
            ready="sum-ready.test",
            http_port=replicas.http,
            grpc_port=replicas.grpc,
            live_port=replicas.http,
            check_seconds=0.5,
            patience_seconds=1.0,
            listen=envoy.Address("127.0.0.1", listen),
            status=envoy.Address("127.0.0.1", status),
            admin=envoy.Address("127.0.0.1", admin),
            folder=str(tmp_path_factory.mktemp("envoy")),
            resolvers=(envoy.Address(*dns.address),),
        )
        made = World(stack.enter_context(running(router)), dns, addresses, {}, {}, [])
        # By its own name, and as one that is ready. The router is ready before it has heard of all of them.
        made.counts(2 * SIZE)
        yield made


def step(world: World, value: float, headers: dict[str, str], **parameters: Any) -> Answer:
    body = {
        "inputs": [{"name": "x", "shape": [1, 1], "datatype": "FP32", "data": [value]}],
        "parameters": parameters,
    }
    return world.ask(INFER, {"content-type": "application/json", **headers}, json.dumps(body).encode())


def total(answer: Answer) -> float:
    assert answer.status == 200, answer.body
    [output] = json.loads(answer.body)["outputs"]
    return float(output["data"][0])


def begun(world: World, ordinal: int | None = None) -> str:
    """The id of a new session, whose first step was 1; of this replica, if it matters."""
    while True:
        answer = step(world, 1, {"x-mooring-session": "new"})
        assert total(answer) == 1
        session = answer.headers["x-mooring-session"]
        if ordinal in {None, int(session.partition(".")[0])}:
            return session


def test_sessions_begin_at_every_replica_and_stay_where_they_are(world: World) -> None:
    sessions = [begun(world, ordinal) for ordinal in (0, 1, 0, 1)]
    for number in range(2, 8):
        for session in sessions:
            answer = step(world, 1, {"x-mooring-session": session, "x-mooring-step": str(number)})
            assert (total(answer), answer.headers["x-mooring-step"]) == (number, str(number))


def test_a_cookie_is_as_good_as_a_header_and_two_names_are_told(world: World) -> None:
    answer = step(world, 1, {"x-mooring-session": "new"})
    cookie, _, _ = answer.headers["set-cookie"].partition(";")
    assert cookie == f"{names.COOKIE_SESSION}={answer.headers['x-mooring-session']}"
    assert total(step(world, 2, {"cookie": cookie})) == 3
    both = step(world, 3, {"cookie": cookie, "x-mooring-session": begun(world)})
    assert (both.status, both.document["cause"], both.document["applied"]) == (400, "bad-session", "no")


def test_a_chosen_id_is_one_session_whichever_replica_is_asked(world: World) -> None:
    assert total(step(world, 1, {"x-mooring-session": "mine"}, sequence_start=True)) == 1
    assert [total(step(world, 1, {"x-mooring-session": "mine"})) for _ in range(6)] == [2, 3, 4, 5, 6, 7]
    assert [total(step(world, 1, {}, sequence_id="mine")) for _ in range(6)] == [8, 9, 10, 11, 12, 13]


def test_clients_of_triton_come_by_the_same_door(world: World) -> None:
    session = begun(world, 1)
    with tritonclient.grpc.InferenceServerClient(world.envoy.target) as client:
        given = tritonclient.grpc.InferInput("x", [1, 1], "FP32")
        given.set_data_from_numpy(np.ones((1, 1), np.float32))
        told = client.infer("sum", [given], headers={names.HEADER_SESSION: session})
        assert told.as_numpy("sum").item() == 2
    with tritonclient.http.InferenceServerClient(world.envoy.target) as client:
        given = tritonclient.http.InferInput("x", [1, 1], "FP32")
        given.set_data_from_numpy(np.ones((1, 1), np.float32))
        told = client.infer("sum", [given], headers={names.HEADER_SESSION: session})
        assert told.as_numpy("sum").item() == 3


def test_old_connections_of_the_router_end_and_no_step_is_lost(world: World) -> None:
    ended = connections_ended(world)
    over_http, over_grpc = begun(world, 0), begun(world, 1)
    with (
        tritonclient.grpc.InferenceServerClient(world.envoy.target) as grpc,
        tritonclient.http.InferenceServerClient(world.envoy.target) as http,
    ):
        asked = tritonclient.grpc.InferInput("x", [1, 1], "FP32").set_data_from_numpy(np.ones((1, 1), np.float32))
        given = tritonclient.http.InferInput("x", [1, 1], "FP32").set_data_from_numpy(np.ones((1, 1), np.float32))
        end, number = time.monotonic() + 6 * AGE, 1
        while time.monotonic() < end:
            number += 1
            told = grpc.infer("sum", [asked], headers={names.HEADER_SESSION: over_grpc})
            assert told.as_numpy("sum").item() == number
            said = http.infer("sum", [given], headers={names.HEADER_SESSION: over_http})
            assert said.as_numpy("sum").item() == number
    assert connections_ended(world) - ended >= 4, "two for each client at least"


def connections_ended(world: World) -> int:
    """Connections of the router to replicas that have come to an end."""
    told = json.loads(world.envoy.admin("/stats?filter=upstream_cx_destroy$&format=json"))["stats"]
    return sum(each["value"] for each in told if "value" in each)


def test_while_its_replica_is_down_a_session_is_told_so_and_goes_on_after_it(world: World, replicas: Replicas) -> None:
    session = begun(world, 1)
    assert total(step(world, 1, {"x-mooring-session": session, "x-mooring-step": "2"})) == 2
    replicas.kill(1)
    down = step(world, 1, {"x-mooring-session": session, "x-mooring-step": "3"})
    assert (down.status, down.document["cause"], down.document["applied"]) == (503, "owner-down", "no")
    assert int(down.headers["retry-after"]) >= 1
    # It was the other replica that said so: it knows the session's name, the router does not.
    assert down.document["session"] == session
    replicas.start(1)
    wait_until(
        lambda: step(world, 1, {"x-mooring-session": session, "x-mooring-step": "3"}).status == 200, 20, "the session"
    )
    assert total(step(world, 1, {"x-mooring-session": session, "x-mooring-step": "4"})) == 4


def test_while_its_replica_hangs_a_session_is_told_so_and_soon(world: World, replicas: Replicas) -> None:
    session = begun(world, 1)
    headers = {"x-mooring-session": session, "x-mooring-step": "2"}
    world.counts(2 * SIZE)
    replicas.processes[1].stop(signal.SIGSTOP)
    try:
        # The router finds that it gives no answer at all, the other replica that it gives no sign of life.
        world.counts(2 * SIZE - 2)
        first = step(world, 1, headers)
        assert (first.status, first.document["cause"], first.document["applied"]) == (504, "outcome-unknown", "unknown")
        began = time.monotonic()
        then = step(world, 1, headers)
        assert time.monotonic() - began < SOON
        assert (then.status, then.document["cause"], then.document["applied"]) == (503, "owner-down", "no")
        assert int(then.headers["retry-after"]) >= 1
    finally:
        replicas.processes[1].stop(signal.SIGCONT)
    wait_until(lambda: step(world, 1, headers).status == 200, 20, "the session")
    assert total(step(world, 1, {**headers, "x-mooring-step": "3"})) == 3, "it was applied once"
