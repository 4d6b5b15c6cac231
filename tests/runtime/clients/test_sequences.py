"""Sequences as Triton's own examples make them, by its clients as they come, against a real server: the model adds up
what each of its sessions is sent."""

import queue
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
import pytest
import requests
import tritonclient.grpc as triton_grpc
import tritonclient.grpc.aio as triton_grpc_aio
import tritonclient.http as triton_http
import tritonclient.http.aio as triton_http_aio
from tritonclient.utils import InferenceServerException

from tests.support.runtime_process import Server, serving
from tests.support.state_models import accumulator

pytestmark = pytest.mark.timeout(60)

VALUES = [11, 7, 5, 3, 2, 0, 1]
"""Those of Triton's examples; a second sequence is sent each of them with a minus before it."""
SUMS = np.cumsum(VALUES).tolist()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    root = tmp_path_factory.mktemp("sequences")
    model = accumulator(root / "model.onnx")
    with serving(model, "sums", session_path=str(root / "volume"), stand_alone="true") as server:
        yield server


@pytest.fixture
def http(server: Server) -> Iterator[triton_http.InferenceServerClient]:
    with triton_http.InferenceServerClient(f"127.0.0.1:{server.port}") as client:
        yield client


@pytest.fixture
def grpc(server: Server) -> Iterator[triton_grpc.InferenceServerClient]:
    with triton_grpc.InferenceServerClient(f"127.0.0.1:{server.grpc_port}") as client:
        yield client


def x(value: float, made: Any = triton_http) -> list[Any]:
    tensor = made.InferInput("x", [1, 1], "FP32")
    tensor.set_data_from_numpy(np.array([[value]], np.float32))
    return [tensor]


def told(result: Any) -> float:
    return float(result.as_numpy("sum")[0, 0])


def flags(count: int, last: int = len(VALUES)) -> dict[str, bool]:
    """What the examples say of the step of this number, from 0."""
    return {"sequence_start": count == 0, "sequence_end": count == last - 1}


# --- one request after the other


@pytest.mark.parametrize(("first", "second"), [(1000, 1001), ("s-1000", "s ä-1001")])
def test_two_sequences_take_turns(http: Any, grpc: Any, first: int | str, second: int | str) -> None:
    for client, made, offset in ((http, triton_http, 0), (grpc, triton_grpc, 1)):
        ids = [each + 2 * offset if isinstance(each, int) else f"{each}/{offset}" for each in (first, second)]
        found: list[list[float]] = [[], []]
        for count, value in enumerate(VALUES):
            for sums, identity, sign in zip(found, ids, (1, -1), strict=True):
                result = client.infer("sums", x(sign * value, made), sequence_id=identity, **flags(count))
                sums.append(told(result))
        assert found == [SUMS, [-each for each in SUMS]]


def test_a_sequence_of_one_request(http: Any) -> None:
    for _ in range(2):
        result = http.infer("sums", x(5), sequence_id=2000, sequence_start=True, sequence_end=True)
        assert told(result) == 5


def test_a_start_over_a_live_sequence_begins_anew(http: Any, grpc: Any) -> None:
    assert told(http.infer("sums", x(5), sequence_id=2001, sequence_start=True)) == 5
    assert told(grpc.infer("sums", x(6, triton_grpc), sequence_id=2001, sequence_start=True)) == 6
    assert told(http.infer("sums", x(1), sequence_id=2001)) == 7


def test_numbered_steps_are_repeated_and_not_applied_again(http: Any, grpc: Any) -> None:
    for client, made in ((http, triton_http), (grpc, triton_grpc)):
        step = partial(client.infer, "sums", sequence_id=f"numbered-{made.__name__}")
        first = step(x(5, made), sequence_start=True, parameters={"sequence_step": 1})
        assert told(first) == 5
        for _ in range(3):
            assert told(step(x(2, made), parameters={"sequence_step": 2})) == 7
        assert told(step(x(1, made), sequence_end=True, parameters={"sequence_step": 3})) == 8
        assert told(step(x(1, made), sequence_end=True, parameters={"sequence_step": 3})) == 8


def test_answers_tell_of_the_session(http: Any, grpc: Any) -> None:
    answer = http.infer("sums", x(5), sequence_id="new").get_response()["parameters"]
    assert answer["sequence_step"] == 1
    response = grpc.infer("sums", x(6, triton_grpc), sequence_id=answer["sequence_id"]).get_response()
    assert response.parameters["sequence_id"].string_param == answer["sequence_id"]
    assert response.parameters["sequence_step"].int64_param == 2
    assert response.parameters["sequence_incarnation"].string_param == answer["sequence_incarnation"]


REFUSALS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "no sequence": ("400", "INVALID_ARGUMENT", {}),
    "not begun": ("404", "NOT_FOUND", {"sequence_id": 3000}),
    "a gap": ("409", "FAILED_PRECONDITION", {"sequence_id": 3001, "parameters": {"sequence_step": 9}}),
    "another input": ("409", "FAILED_PRECONDITION", {"sequence_id": 3001, "parameters": {"sequence_step": 1}}),
    "over": ("410", "FAILED_PRECONDITION", {"sequence_id": 3002}),
}


@pytest.mark.parametrize("case", REFUSALS)
def test_refusals_are_told_by_their_status(http: Any, grpc: Any, case: str) -> None:
    status, code, arguments = REFUSALS[case]
    http.infer("sums", x(5), sequence_id=3001, sequence_start=True)
    http.infer("sums", x(5), sequence_id=3002, sequence_start=True, sequence_end=True)
    with pytest.raises(InferenceServerException) as caught:
        http.infer("sums", x(7), **arguments)
    assert caught.value.status() == status
    with pytest.raises(InferenceServerException) as caught:
        grpc.infer("sums", x(7, triton_grpc), **arguments)
    assert caught.value.status() == f"StatusCode.{code}"


def test_several_samples_are_no_step(http: Any) -> None:
    tensor = triton_http.InferInput("x", [2, 1], "FP32")
    tensor.set_data_from_numpy(np.ones((2, 1), np.float32))
    with pytest.raises(InferenceServerException) as caught:
        http.infer("sums", [tensor], sequence_id=3003, sequence_start=True)
    assert caught.value.status() == "400"


# --- streams


def send(client: Any, ids: tuple[int | str, ...], requests_: int) -> Callable[[], dict[str, float]]:
    """Send two sequences in turns, as Triton's example of streams does; what it gives waits for the answers."""
    found: queue.Queue[tuple[Any, Any]] = queue.Queue()
    client.start_stream(lambda result, error: found.put((result, error)))
    for count, value in enumerate(VALUES):
        for identity, sign in zip(ids, (1, -1), strict=True):
            client.async_stream_infer(
                "sums",
                x(sign * value, triton_grpc),
                request_id=f"{identity}_{count}",
                sequence_id=identity,
                **flags(count),
            )

    def wait() -> dict[str, float]:
        sums = {}
        for _ in range(requests_):
            result, error = found.get(timeout=20)
            assert error is None, error
            sums[result.get_response().id] = told(result)
        client.stop_stream()
        return sums

    return wait


@pytest.mark.parametrize("ids", [(4000, 4001), ("s-4000", "s-4001")])
def test_two_sequences_on_one_stream(grpc: Any, ids: tuple[int | str, ...]) -> None:
    sums = send(grpc, ids, 2 * len(VALUES))()
    for identity, sign in zip(ids, (1, -1), strict=True):
        assert [sums[f"{identity}_{count}"] for count in range(len(VALUES))] == [sign * each for each in SUMS]


def test_streams_side_by_side(server: Server) -> None:
    clients = [triton_grpc.InferenceServerClient(f"127.0.0.1:{server.grpc_port}") for _ in range(4)]
    waits = [
        send(client, (5000 + 2 * number, 5001 + 2 * number), 2 * len(VALUES)) for number, client in enumerate(clients)
    ]
    for number, wait in enumerate(waits):
        sums = wait()
        assert [sums[f"{5000 + 2 * number}_{count}"] for count in range(len(VALUES))] == SUMS
    for client in clients:
        client.close()


def test_a_refusal_does_not_end_a_stream_and_tells_its_cause(grpc: Any) -> None:
    found: queue.Queue[tuple[Any, Any]] = queue.Queue()
    grpc.start_stream(lambda result, error: found.put((result, error)))
    grpc.async_stream_infer("sums", x(5, triton_grpc), sequence_id=6000)
    grpc.async_stream_infer("sums", x(5, triton_grpc), sequence_id=6000, sequence_start=True)
    _, error = found.get(timeout=20)
    result, _ = found.get(timeout=20)
    grpc.stop_stream()
    assert error.message().endswith('{"cause":"unknown","applied":"no","session":"6000"}')
    assert told(result) == 5


# --- asynchronous clients


async def test_asyncio_over_http(server: Server) -> None:
    async with triton_http_aio.InferenceServerClient(f"127.0.0.1:{server.port}") as client:
        found: list[list[float]] = [[], []]
        for count, value in enumerate(VALUES):
            for sums, identity, sign in zip(found, (7000, "s-7000"), (1, -1), strict=True):
                result = await client.infer("sums", x(sign * value), sequence_id=identity, **flags(count))
                sums.append(told(result))
        assert found == [SUMS, [-each for each in SUMS]]


async def test_a_stream_of_asyncio(server: Server) -> None:
    async def steps() -> Any:
        for count, value in enumerate(VALUES):
            for identity, sign in ((8000, 1), (8001, -1)):
                yield {
                    "model_name": "sums",
                    "inputs": x(sign * value, triton_grpc),
                    "request_id": f"{identity}_{count}",
                    "sequence_id": identity,
                    **flags(count),
                }

    sums = {}
    async with triton_grpc_aio.InferenceServerClient(f"127.0.0.1:{server.grpc_port}") as client:
        async for result, error in client.stream_infer(steps()):
            assert error is None
            sums[result.get_response().id] = told(result)
    for identity, sign in ((8000, 1), (8001, -1)):
        assert [sums[f"{identity}_{count}"] for count in range(len(VALUES))] == [sign * each for each in SUMS]


# --- what is told of the model


def test_the_configuration_says_that_the_model_takes_sequences(http: Any, grpc: Any) -> None:
    assert {"sequence", "sequence(string_id)"} <= {*http.get_server_metadata()["extensions"]}
    config = http.get_model_config("sums")
    assert "dynamic_batching" not in config
    [state] = config["sequence_batching"]["state"]
    assert (state["input_name"], state["output_name"]) == ("state_in_sum", "state_out_sum")
    told_ = grpc.get_model_config("sums").config
    assert told_.WhichOneof("scheduling_choice") == "sequence_batching"
    assert told_.sequence_batching.state[0].input_name == "state_in_sum"
    assert [each["name"] for each in http.get_model_metadata("sums")["inputs"]] == ["x"]


# --- other ways to name a session


def test_a_browser_keeps_its_session_in_a_cookie(server: Server) -> None:
    url = f"http://127.0.0.1:{server.port}/v1/models/sums:predict"
    with requests.Session() as browser:
        begun = browser.post(url, json={"instances": [[5]]}, headers={"X-Mooring-Session": "new"}, timeout=5)
        assert begun.json() == {"predictions": [[5.0]]}
        assert browser.cookies["mooring-session"] == begun.headers["X-Mooring-Session"]
        assert browser.post(url, json={"instances": [[2]]}, timeout=5).json() == {"predictions": [[7.0]]}
        ended = browser.post(url, json={"instances": [[1]]}, headers={"X-Mooring-Session-End": "true"}, timeout=5)
        assert ended.json() == {"predictions": [[8.0]]}
        assert "mooring-session" not in browser.cookies
        assert browser.post(url, json={"instances": [[1]]}, timeout=5).json()["cause"] == "bad-session"


def test_sagemaker_and_torchserve(server: Server) -> None:
    url = f"http://127.0.0.1:{server.port}"
    name = "X-Amzn-SageMaker-Session-Id"

    def invoke(session: str, body: Any) -> requests.Response:
        return requests.post(f"{url}/invocations", json=body, headers={name: session}, timeout=5)

    opened = invoke("NEW_SESSION", {"requestType": "NEW_SESSION"})
    session = opened.headers["X-Amzn-SageMaker-New-Session-Id"].partition(";")[0]
    assert [invoke(session, [[value]]).json() for value in (5, 2)] == [[[5.0]], [[7.0]]]
    assert invoke(session, {"requestType": "CLOSE"}).headers["X-Amzn-SageMaker-Closed-Session-Id"] == session
    assert (invoke(session, [[1]]).status_code, invoke(session, [[1]]).json()["cause"]) == (410, "ended")

    def predict(**headers: str) -> requests.Response:
        told = {f"ts_request_sequence_{name}": text for name, text in headers.items()}
        return requests.post(f"{url}/predictions/sums", json=[[5]], headers=told, timeout=5)

    begun = predict(start="true")
    assert begun.json() == [[5.0]]
    assert predict(id=begun.headers["ts_request_sequence_id"], end="true").json() == [[10.0]]
