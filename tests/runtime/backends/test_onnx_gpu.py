"""ONNX models on a real GPU; `make unit-gpu` brings the onnxruntime for it."""

import time
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest

from mooring_runtime.backends.base import LoadOptions, loader
from mooring_runtime.backends.onnx import graphs
from mooring_runtime.backends.onnx.backend import OnnxBackend
from mooring_runtime.errors import InferenceFailed
from mooring_runtime.messages import Array
from mooring_runtime.repository.stateful import Stateful
from mooring_runtime.scheduling.curve import Curve
from tests.support import arenas, models, state_models

# The first use of CUDA in a process takes seconds.
pytestmark = [pytest.mark.gpu, pytest.mark.timeout(120)]

WIDE = (256, 4096, 4096, 16)
"""66 MB of weights: large enough that a GPU is busy with a batch."""


@pytest.fixture(autouse=True)
def build() -> None:
    if "CUDAExecutionProvider" not in ort.get_available_providers():
        pytest.skip("the onnxruntime of this Python knows no CUDA; `make unit-gpu` brings one that does")


def load(file: Path, **more: Any) -> OnnxBackend:
    backend = loader("onnx")(file, LoadOptions("m", "1", 1, **more))
    assert isinstance(backend, OnnxBackend)
    return backend


def rows(count: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).standard_normal((count, WIDE[0])).astype(np.float32)


@pytest.fixture(scope="module")
def wide(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return models.perceptron(tmp_path_factory.mktemp("gpu") / "m.onnx", WIDE)


@pytest.fixture(scope="module")
def on_cpu(wide: Path) -> OnnxBackend:
    return load(wide, accelerator=False)


def close(found: Array, expected: Array) -> None:
    # TF32, in which a GPU multiplies by default, has 10 bits of mantissa.
    np.testing.assert_allclose(found, expected, rtol=2e-2, atol=2e-2)


def test_cuda_really_runs(wide: Path, on_cpu: OnnxBackend, caplog: pytest.LogCaptureFixture) -> None:
    backend = load(wide)
    assert backend.device == "CUDA"
    assert not [record for record in caplog.records if record.levelname == "ERROR"]
    for count in (1, 8):
        close(backend.infer({"x": rows(count)}, ["y"])[0], on_cpu.infer({"x": rows(count)}, ["y"])[0])


def test_recorded_runs_give_the_answers_of_plain_ones(wide: Path, on_cpu: OnnxBackend) -> None:
    backend = load(wide, cuda_graph=True)
    assert vars(backend)["_recorded"] is not None
    for seed, count in enumerate([4, 4, 4, 8, 4, 8, 1]):
        x = rows(count, seed)
        close(backend.infer({"x": x}, ["y"])[0], on_cpu.infer({"x": x}, ["y"])[0])


def test_a_recorded_answer_is_not_written_to_by_the_next_run(wide: Path) -> None:
    backend = load(wide, cuda_graph=True)
    [first] = backend.infer({"x": rows(4, 1)}, ["y"])
    kept = first.tolist()
    backend.infer({"x": rows(4, 2)}, ["y"])
    assert first.tolist() == kept


def test_a_model_whose_sizes_are_free_runs_unrecorded(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    backend = load(models.echo(tmp_path / "m.onnx", ("FP32",), ("batch", "n")), cuda_graph=True)
    assert vars(backend)["_recorded"] is None
    assert "model 'm' runs without CUDA graphs: input 'in_FP32' has shape [-1, -1]" in caplog.text
    assert backend.infer({"in_FP32": rows(2)}, ["out_FP32"])[0].tolist() == rows(2).tolist()


def test_the_cap_of_memory_holds_and_smaller_runs_go_on(wide: Path) -> None:
    backend = load(wide, device_memory=256 * 2**20)
    with pytest.raises(InferenceFailed, match=r"(?i)alloc|memory"):
        backend.infer({"x": rows(64 * 1024)}, ["y"])  # A layer of it is 1 GiB.
    assert backend.infer({"x": rows(8)}, ["y"])[0].shape == (8, WIDE[-1])


def test_a_batch_costs_less_than_its_samples_one_by_one(wide: Path) -> None:
    backend, curve = load(wide), Curve()
    for _ in range(5):
        for count in (1, 2, 4, 8, 16, 32):
            x = rows(count)
            backend.infer({"x": x}, ["y"])
            started = time.perf_counter()
            backend.infer({"x": x}, ["y"])
            curve.observe(count, time.perf_counter() - started)
    a, b = curve.terms
    assert a + 32 * b < 8 * (a + b)


# --- states that stay there: what `test_onnx_arena` does on a CPU


def both(file: Path, slots: int = 0, most: int = 32) -> tuple[Stateful, Stateful]:
    """The model with states on the GPU, the last `slots` if so many are named, and without."""
    on_gpu: dict[str, Any] = {"accelerator": True, "hold_anywhere": False, "max_batch": most}
    plain = arenas.loaded(file, room=0, **on_gpu)
    there = arenas.loaded(file, room=arenas.room_for(plain, slots, most) if slots else arenas.PLENTY, **on_gpu)
    assert (plain.device, plain.arena, there.device) == ("CUDA", None, "CUDA")
    assert there.arena is not None
    return there, plain


def stateful(directory: Path, name: str) -> Path:
    file = directory / "model.onnx"
    if name == "crossed":
        return state_models.crossed(file, {"h_in": "h_out", "past.10": "present.10", "past.9": "present.9"})
    return state_models.layered(file) if name == "layered" else state_models.accumulator(file)


@pytest.mark.parametrize("name", ["accumulator", "layered", "crossed"])
def test_many_sessions_in_a_small_ring_are_as_each_alone(tmp_path: Path, name: str) -> None:
    # Blocks begin at 256 bytes: a ring of so few slots has room for some of those alone.
    there, plain = both(stateful(tmp_path, name), slots=512, most=8)
    counted = arenas.Counted(there)
    arenas.interleaved(there, plain, sessions=1_000, steps=3, most=8)
    found, sent = counted.told()
    assert min(found, sent) > 100, "some were still there, and some not"


@pytest.mark.parametrize("name", ["accumulator", "crossed"])
def test_what_is_found_and_what_is_sent(tmp_path: Path, name: str) -> None:
    arenas.found_and_sent(*both(stateful(tmp_path, name)))


def test_runs_that_fail_for_the_states_alone_go_on_without(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    arenas.given_up(*both(stateful(tmp_path, "accumulator")), caplog)


def test_every_bit_stays_on_the_device(tmp_path: Path) -> None:
    for datatype in graphs.ELEMENTS:
        arenas.every_bit_stays(both(state_models.carried(tmp_path / f"{datatype}.onnx", datatype))[0])


def test_recorded_runs_have_no_states_there(tmp_path: Path) -> None:
    file = state_models.accumulator(tmp_path / "model.onnx")
    assert arenas.loaded(file, accelerator=True, hold_anywhere=False, cuda_graph=True).arena is None


@pytest.mark.parametrize("name", ["accumulator", "layered", "crossed"])
def test_runs_with_states_there_are_shown_to_be_runs_without(tmp_path: Path, name: str) -> None:
    arenas.shown(both(stateful(tmp_path, name))[0])
