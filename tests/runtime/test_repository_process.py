"""The real server with many models: what unmodified clients load, reload and unload while requests come."""

import contextlib
import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import tritonclient.http as triton
from tritonclient.utils import InferenceServerException

from tests.support.repositories import scaled, write
from tests.support.runtime_process import Server, connect, exchange, get, post, read_reply

pytestmark = pytest.mark.timeout(60)


@contextlib.contextmanager
def repository(root: Path, *, ready: bool = True, **variables: str) -> Iterator[Server]:
    """A server of the models below `root`."""
    server = Server(root, "", model_path="", model_repository=str(root), threads="1", **variables)
    try:
        server.line("ready" if ready else "not ready")
        yield server
    finally:
        server.end()


@contextlib.contextmanager
def client(server: Server) -> Iterator[triton.InferenceServerClient]:
    with triton.InferenceServerClient(f"127.0.0.1:{server.port}") as found:
        yield found


def ask(found: triton.InferenceServerClient, name: str, version: str = "") -> float:
    """The factor of a `scaled` model."""
    tensor = triton.InferInput("x", [1], "FP32")
    tensor.set_data_from_numpy(np.array([1.0], np.float32))
    return float(found.infer(name, [tensor], model_version=version).as_numpy("y")[0])


BODY = json.dumps({"inputs": [{"name": "x", "shape": [1], "datatype": "FP32", "data": [1.0]}]}).encode()


class Load(threading.Thread):
    """Asks again and again, on one connection."""

    def __init__(self, port: int, name: str) -> None:
        super().__init__()
        self.port = port
        self.body = post(f"/v2/models/{name}/infer", BODY)
        self.leave = threading.Event()
        self.statuses: list[int] = []
        self.values: set[float] = set()

    def run(self) -> None:
        with connect(self.port) as connection:
            while not self.leave.is_set():
                connection.sendall(self.body)
                status, _, body = read_reply(connection)
                self.statuses.append(status)
                if status == 200:
                    self.values.add(json.loads(body)["outputs"][0]["data"][0])

    def go_on(self, answers: int) -> None:
        """Wait for so many further answers."""
        until = len(self.statuses) + answers
        while self.is_alive() and len(self.statuses) < until:
            time.sleep(0.001)


def test_no_request_fails_while_a_client_reloads_the_model(tmp_path: Path) -> None:
    scaled(tmp_path / "m/1/model.onnx", 1)
    with repository(tmp_path, model_control="explicit") as server, client(server) as found:
        load = [Load(server.port, "m") for _ in range(4)]
        for each in load:
            each.start()
        for version in range(2, 8):
            scaled(tmp_path / f"m/{version}/model.onnx", version)
            found.load_model("m")
            assert ask(found, "m") == version
            for each in load:
                each.go_on(5)
        for each in load:
            each.leave.set()
        for each in load:
            each.join()
        assert {status for each in load for status in each.statuses} == {200}
        assert set.union(*(each.values for each in load)) >= {*range(2, 8)}


def test_tritonclient_administers_models(tmp_path: Path) -> None:
    scaled(tmp_path / "a/1/model.onnx", 2)
    scaled(tmp_path / "a/2/model.onnx", 3)
    scaled(tmp_path / "b/model.onnx", 4)
    with repository(tmp_path, model_control="explicit", load_models="a") as server, client(server) as found:
        index = {(each["name"], each.get("version")): each["state"] for each in found.get_model_repository_index()}
        assert index[("a", "2")] == "READY"
        found.load_model("b")
        assert ask(found, "b") == 4
        found.load_model("a", config='{"version_policy": {"all": {}}, "max_batch_size": 4}')
        assert (ask(found, "a", "1"), ask(found, "a", "2"), ask(found, "a")) == (2, 3, 3)
        assert found.get_model_config("a")["max_batch_size"] == 4
        assert found.get_model_metadata("a")["versions"] == ["1", "2"]
        sent = {"file:7/model.onnx": scaled(tmp_path / "sent.onnx", 9).read_bytes()}
        found.load_model("c", config="{}", files=sent)
        assert ask(found, "c", "7") == 9
        assert found.get_inference_statistics("c")["model_stats"][0]["inference_count"] == 1
        found.unload_model("c")
        with pytest.raises(InferenceServerException, match=r"model 'c' is (unloading|unavailable: unloaded)") as caught:
            ask(found, "c")
        assert caught.value.status() == "503"
        with pytest.raises(InferenceServerException, match=r"failed to load 'x': this server's repository") as caught:
            found.load_model("x")
        assert caught.value.status() == "500"
        (tmp_path / "b/model.onnx").write_bytes(b"garbage")
        with pytest.raises(InferenceServerException, match=r"failed to load 'b': model\.onnx is no model") as caught:
            found.load_model("b")
        assert caught.value.status() == "400"
        assert ask(found, "b") == 4
        assert found.is_server_ready()


def test_without_permission_clients_load_nothing(tmp_path: Path) -> None:
    scaled(tmp_path / "m/model.onnx", 2)
    with repository(tmp_path) as server, client(server) as found:
        for change in (found.load_model, found.unload_model):
            with pytest.raises(
                InferenceServerException, match="MOORING_MODEL_CONTROL=none; set it to explicit"
            ) as caught:
                change("m")
            assert caught.value.status() == "503"
        assert ask(found, "m") == 2


@pytest.mark.parametrize("strict", ["true", "false"])
def test_a_model_that_fails_beside_others(tmp_path: Path, strict: str) -> None:
    scaled(tmp_path / "good/model.onnx", 2)
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad/model.onnx").write_bytes(b"garbage")
    with (
        repository(tmp_path, ready=strict == "false", strict_readiness=strict) as server,
        client(server) as found,
    ):
        assert ask(found, "good") == 2
        status, body = get(server.port, "/v2/health/ready")
        assert status == (503 if strict == "true" else 200)
        assert ("model 'bad' is unavailable: model.onnx is no model" in json.dumps(body)) == (strict == "true")
        [bad] = [each for each in found.get_model_repository_index() if each["name"] == "bad"]
        assert bad["state"] == "UNAVAILABLE"
        assert "model.onnx is no model that onnxruntime" in bad["reason"]
        server.stop()
        assert server.code() == 0


def test_a_model_that_was_unloaded_to_make_room_comes_back(tmp_path: Path) -> None:
    for value, name in enumerate("abc", 1):
        scaled(tmp_path / name / "model.onnx", value, 40_000)
    with repository(tmp_path, max_loaded_bytes="100000") as server, client(server) as found:
        status, headers, body = exchange(server.port, post("/v2/models/c/infer", BODY))
        assert (status, headers["retry-after"]) == (503, "1")
        assert b"model 'c' was unloaded to make room for others and is being loaded again" in body
        while exchange(server.port, post("/v2/models/c/infer", BODY))[0] != 200:
            assert server.process.poll() is None
        assert ask(found, "c") == 3
        states = [each["state"] for each in found.get_model_repository_index()]
        assert sorted(states) == ["READY", "READY", "UNAVAILABLE"]


def test_the_models_own_configuration_is_acted_on(tmp_path: Path) -> None:
    scaled(tmp_path / "m/model.onnx", 2)
    write(tmp_path / "m/mooring.json", {"batching": {"maxSize": 8}, "warmup": {"requests": "warmup.json"}})
    request = {"requests": [{"inputs": [{"name": "x", "shape": [2], "data": [1, 2]}]}]}
    write(tmp_path / "m/warmup.json", request)
    with repository(tmp_path, batch_max_delay="1ms") as server, client(server) as found:
        config = found.get_model_config("m")
        assert (config["max_batch_size"], config["dynamic_batching"]["max_queue_delay_microseconds"]) == (8, 1000)
        tensor = triton.InferInput("x", [9], "FP32")
        tensor.set_data_from_numpy(np.zeros(9, np.float32))
        with pytest.raises(InferenceServerException, match="8") as caught:
            found.infer("m", [tensor])
        assert caught.value.status() == "400"
