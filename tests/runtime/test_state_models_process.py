"""Models with state of every kind behind a real server: what clients send and see of it."""

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.support import models, state_models
from tests.support.repositories import write
from tests.support.runtime_process import Server, exchange, get, post

pytestmark = pytest.mark.timeout(60)

COUNTER = """
import json
import pathlib
import numpy as np

class Model:
    inputs = {"x": ("FP32", [-1, 1])}
    outputs = {"mean": ("FP32", [-1, 1])}
    state = {"total": ("FP64", [-1, 1]), "count": ("INT64", [-1, 1])}
    batch = True

    def load(self, context):
        self.told = context.directory / "told.json"

    def initial_state(self):
        return {"total": np.array([[100.0]]), "count": np.array([[1]])}

    def predict(self, inputs, state):
        total, count = state["total"] + inputs["x"], state["count"] + 1
        if (inputs["x"] < 0).any():
            raise ValueError("negative")
        return {"mean": (total / count).astype(np.float32)}, {"total": total, "count": count}

    def end(self, session, state, cause):
        self.told.write_text(json.dumps([session, float(state["total"][0, 0]), cause]))
"""

CONVERT = """
def convert(state, version):
    assert version == "1"
    return {"state_in_kept": state["state_in_sum"] * 10}
"""


def started(repository: Path, volume: Path) -> Server:
    return Server(
        repository,
        model_path="",
        name="",
        model_repository=str(repository),
        allow_unsafe_formats="true",
        session_path=str(volume),
        stand_alone="true",
    ).ready()


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("repository")
    for name in ("sum", "cache", "stream", "counter", "plain"):
        (root / name).mkdir()
    state_models.accumulator(root / "sum/model.onnx")
    state_models.cache(root / "cache/model.onnx")
    state_models.stream(root / "stream/model.onnx")
    write(root / "stream/mooring.json", {"state": {"windows": [{"input": "samples", "keep": 2}]}})
    (root / "counter/model.py").write_text(COUNTER)
    models.scaled(root / "plain/model.onnx", 2)
    return root


@pytest.fixture(scope="module")
def server(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = started(repository, tmp_path_factory.mktemp("volume"))
    try:
        yield server
    finally:
        server.end()


def send(server: Server, model: str, data: Any, outputs: tuple[str, ...] = (), **parameters: object) -> tuple[int, Any]:
    """Status and JSON of a request with one input, its name being the model's."""
    name = {"cache": "token", "stream": "samples"}.get(model, "x")
    array = np.array(data)
    tensor = {"name": name, "datatype": "FP32", "shape": array.shape, "data": array.ravel().tolist()}
    document: dict[str, object] = {"inputs": [tensor], "parameters": parameters}
    if outputs:
        document["outputs"] = [{"name": each} for each in outputs]
    status, _, body = exchange(server.port, post(f"/v2/models/{model}/infer", json.dumps(document).encode()))
    return status, json.loads(body)


def step(server: Server, model: str, data: Any, *outputs: str, **more: object) -> dict[str, list[Any]]:
    """The outputs of one step of the session `s`, by name."""
    status, answer = send(server, model, data, outputs, **{"sequence_id": "s", **more})
    assert status == 200, answer
    return {each["name"]: np.array(each["data"]).reshape(each["shape"]).tolist() for each in answer["outputs"]}


def test_clients_see_the_state_only_if_they_ask(server: Server) -> None:
    _, told = get(server.port, "/v2/models/sum")
    assert [each["name"] for each in told["inputs"] + told["outputs"]] == ["x", "sum"]
    assert step(server, "sum", [[1]], sequence_start=True) == {"sum": [[1]]}
    assert step(server, "sum", [[2]], "state_out_sum", "sum") == {"state_out_sum": [[3]], "sum": [[3]]}
    assert step(server, "sum", [[3]], "state_out_sum") == {"state_out_sum": [[6]]}
    status, answer = send(server, "sum", [[1]], ("state_in_sum",), sequence_id="s")
    assert (status, answer["error"]) == (400, "model 'sum' has no output 'state_in_sum'; its outputs are 'sum'")


def test_a_cache_grows_with_each_step(server: Server) -> None:
    def token(value: float) -> Any:
        return np.full((1, 2, 1, 3), value)

    assert step(server, "cache", token(1), sequence_start=True)["total"] == [[[1] * 3] * 2]
    step(server, "cache", token(2))
    found = step(server, "cache", token(4), "total", "present.0.key")
    assert found["total"] == [[[7] * 3] * 2]
    assert np.array(found["present.0.key"])[0, 0, :, 0].tolist() == [1, 2, 4]


def test_a_window_is_kept_from_step_to_step(server: Server) -> None:
    assert step(server, "stream", [[1, 2, 3]], sequence_start=True) == {"first": [[0]], "total": [6]}
    assert step(server, "stream", [[4]]) == {"first": [[2]], "total": [9]}
    assert step(server, "stream", [[5, 6]]) == {"first": [[3]], "total": [18]}


def test_a_class_keeps_its_own_state_and_is_told_of_the_end(server: Server, repository: Path) -> None:
    assert step(server, "counter", [[8]], sequence_start=True) == {"mean": [[54]]}
    status, answer = send(server, "counter", [[-1]], sequence_id="s")
    assert (status, answer["error"]) == (500, "model 'counter' failed: ValueError: negative")
    assert step(server, "counter", [[12]]) == {"mean": [[40]]}
    step(server, "counter", [[0]], sequence_end=True)
    told = repository / "counter/told.json"
    end = time.monotonic() + 10  # It is told on another thread, after the answer.
    while not (told.exists() and told.read_text()) and time.monotonic() < end:
        time.sleep(0.01)
    assert json.loads(told.read_text()) == ["s", 120, "ended"]


def test_a_model_without_state_is_as_ever(server: Server) -> None:
    status, answer = send(server, "plain", [1])
    assert (status, answer["outputs"][0]["data"]) == (200, [2.0])


def test_a_new_version_converts_what_the_old_one_left(tmp_path: Path) -> None:
    repository, volume = tmp_path / "models", tmp_path / "volume"
    (repository / "sum/1").mkdir(parents=True)
    state_models.accumulator(repository / "sum/1/model.onnx")
    server = started(repository, volume)
    try:
        assert step(server, "sum", [[3]], sequence_start=True, sequence_step=1) == {"sum": [[3]]}
    finally:
        server.end()
    new = repository / "sum/2"
    new.mkdir()
    state_models.accumulator(new / "model.onnx", pair=("state_in_kept", "state_out_kept"))
    write(new / "mooring.json", {"state": {"version": "2", "converter": {"file": "convert.py", "from": ["1"]}}})
    (new / "convert.py").write_text(CONVERT)
    server = started(repository, volume)
    try:
        assert step(server, "sum", [[3]], sequence_step=1) == {"sum": [[3]]}, "the stored reply of the old version"
        assert step(server, "sum", [[4]], sequence_step=2) == {"sum": [[34]]}
        assert step(server, "sum", [[1]], sequence_step=3) == {"sum": [[35]]}
    finally:
        server.end()
