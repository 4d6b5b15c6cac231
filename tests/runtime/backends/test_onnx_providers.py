import logging
from collections import Counter
from pathlib import Path
from typing import Any

import onnxruntime as ort
import pytest

from mooring_runtime.backends.base import LoadOptions
from mooring_runtime.backends.onnx import providers
from mooring_runtime.backends.onnx.providers import CPU, CUDA, TENSORRT, chains
from tests.support import models

GPU_BUILD = [TENSORRT, CUDA, CPU]


def options(**more: Any) -> LoadOptions:
    return LoadOptions("m", "1", 1, **more)


def names(found: list[providers.Chain]) -> list[list[str]]:
    return [[name for name, _ in chain] for chain in found]


def test_every_provider_is_tried_and_the_cpu_is_last() -> None:
    assert names(chains(GPU_BUILD, options(), tensorrt=True)) == [[TENSORRT, CUDA, CPU], [CUDA, CPU], [CPU]]


def test_tensorrt_is_tried_only_where_its_libraries_are() -> None:
    assert names(chains(GPU_BUILD, options(), tensorrt=False)) == [[CUDA, CPU], [CPU]]


@pytest.mark.parametrize("bound", [{"device_memory": 2**30}, {"cuda_graph": True}])
def test_what_only_cuda_can_do_leaves_tensorrt_out(bound: dict[str, Any]) -> None:
    assert names(chains(GPU_BUILD, options(**bound), tensorrt=True)) == [[CUDA, CPU], [CPU]]


@pytest.mark.parametrize(
    ("available", "accelerator"), [([CPU], True), (["AzureExecutionProvider", CPU], True), (GPU_BUILD, False)]
)
def test_without_a_gpu_build_or_leave_the_cpu_is_all(available: list[str], accelerator: bool) -> None:
    assert chains(available, options(accelerator=accelerator), tensorrt=True) == [[(CPU, {})]]


def test_the_settings_become_options_of_cuda() -> None:
    [(_, plain), _] = chains(GPU_BUILD, options(), tensorrt=False)[0]
    assert plain == {"device_id": "0", "cudnn_conv_algo_search": "HEURISTIC"}
    [(_, bound), _] = chains(GPU_BUILD, options(device_memory=2**30, cuda_graph=True), tensorrt=False)[0]
    assert bound == plain | {
        "gpu_mem_limit": "1073741824",
        "arena_extend_strategy": "kSameAsRequested",
        "enable_cuda_graph": "1",
    }


@pytest.mark.parametrize(
    ("sessions", "state", "limit"), [(True, 2**20, 2**30 - 2**20), (True, 2**40, 2**30 - 2**28), (False, 2**20, 2**30)]
)
def test_states_that_stay_on_the_gpu_are_within_the_bound_of_memory(sessions: bool, state: int, limit: int) -> None:
    bound = options(device_memory=2**30, device_state=state, sessions=sessions)
    [(_, chosen), _] = chains(GPU_BUILD, bound, tensorrt=False)[0]
    assert chosen["gpu_mem_limit"] == str(limit)


class Session:
    """A session as one on a GPU looks from outside: its providers, and where its operators were placed."""

    def __init__(self, order: list[str], placed: dict[str, int]) -> None:
        self.order = order
        self.placed = placed

    def get_providers(self) -> list[str]:
        return self.order

    def get_provider_graph_assignment_info(self) -> list["Part"]:
        return [Part(name, count) for name, count in self.placed.items()]


class Part:
    def __init__(self, name: str, count: int) -> None:
        self.ep_name = name
        self.count = count

    def get_nodes(self) -> list[None]:
        return [None] * self.count


def test_a_gpu_that_did_not_come_up_is_a_loud_line(caplog: pytest.LogCaptureFixture) -> None:
    assert providers.device(Session([CPU], {CPU: 5}), "m", CUDA) == "CPU"
    assert "model 'm' does not run on CUDA: onnxruntime did not bring it up" in caplog.text
    assert caplog.records[0].levelno == logging.ERROR


def test_a_gpu_that_can_run_none_of_the_model_is_a_loud_line(caplog: pytest.LogCaptureFixture) -> None:
    assert providers.device(Session([CUDA, CPU], {CPU: 5}), "m", CUDA) == "CPU"
    assert "model 'm' does not run on CUDA: it can run none of the model's operators; it runs on CPU" in caplog.text


@pytest.mark.parametrize(
    ("order", "placed", "device"),
    [
        ([CUDA, CPU], {CUDA: 5}, "CUDA"),
        ([CUDA, CPU], {}, "CUDA"),
        ([TENSORRT, CUDA, CPU], {TENSORRT: 1, CUDA: 4}, "TensorRT"),
        ([TENSORRT, CUDA, CPU], {CUDA: 4, CPU: 1}, "CUDA"),
    ],
)
def test_the_device_is_the_best_that_runs_a_part(
    order: list[str], placed: dict[str, int], device: str, caplog: pytest.LogCaptureFixture
) -> None:
    assert providers.device(Session(order, placed), "m", order[0]) == device
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


def test_operators_left_to_the_cpu_are_counted(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    assert providers.device(Session([CUDA, CPU], {CUDA: 5, CPU: 2}), "m", CUDA) == "CUDA"
    assert "model 'm': 2 of its 7 operators run on the CPU, the others on CUDA" in caplog.text


def test_onnxruntime_tells_where_it_placed_each_operator(tmp_path: Path) -> None:
    chosen = ort.SessionOptions()
    chosen.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
    session = ort.InferenceSession(str(models.perceptron(tmp_path / "m.onnx")), chosen, providers=[CPU])
    assert providers.placement(session) == Counter({CPU: 5})


def test_an_onnxruntime_that_does_not_tell_the_placement() -> None:
    assert providers.placement(object()) == Counter()


def test_tensorrt_is_asked_for_by_the_name_that_onnxruntime_was_linked_with(tmp_path: Path) -> None:
    assert not providers.tensorrt_found(tmp_path)
    library = tmp_path / "libonnxruntime_providers_tensorrt.so"
    library.write_bytes(b"")
    assert not providers.tensorrt_found(tmp_path)
    library.write_bytes(b"\x7fELF\0libnvinfer.so.987\0")
    assert not providers.tensorrt_found(tmp_path)
