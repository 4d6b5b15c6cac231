"""Torch models on a real GPU."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mooring_runtime.backends.base import Backend, LoadOptions, loader
from mooring_runtime.backends.torch.arrays import DTYPES
from mooring_runtime.errors import InferenceFailed
from mooring_runtime.messages import Array, TensorSpec
from tests.support import arenas, torch_arenas, torch_models

pytestmark = [pytest.mark.gpu, pytest.mark.timeout(300)]


def load(file: Path, **more: Any) -> Backend:
    kind = "torch-export" if file.suffix == ".pt2" else "torchscript"
    return loader(kind)(file, LoadOptions("m", "1", 1, **{"allow_unsafe": True} | more))


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return torch_models.export_perceptron(tmp_path_factory.mktemp("gpu") / "model.pt2")


@pytest.fixture(scope="module")
def scripted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return torch_models.script(torch_models.Perceptron(), tmp_path_factory.mktemp("gpu") / "model.pt")


SPECS = {
    "inputs": (TensorSpec("x", "FP32", (-1, 4)),),
    "outputs": (TensorSpec("scores", "FP32", (-1, 3)), TensorSpec("total", "FP32", (-1,))),
}


def rows(count: int) -> Array:
    return np.random.default_rng(count).standard_normal((count, 4)).astype(np.float32)


def close(found: list[Array], expected: list[Array]) -> None:
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("form", ["exported", "scripted"])
def test_it_runs_on_the_device_with_the_answers_of_the_cpu(form: str, request: pytest.FixtureRequest) -> None:
    file = request.getfixturevalue(form)
    backend, on_cpu = load(file, **SPECS), load(file, accelerator=False, **SPECS)
    assert (backend.device, on_cpu.device) == ("cuda:0", "CPU")
    for count in (1, 8, 1):
        feeds = {"x": rows(count)}
        close(backend.infer(feeds, ["scores", "total"]), on_cpu.infer(feeds, ["scores", "total"]))


def test_compiled_on_the_device(exported: Path) -> None:
    feeds = {"x": rows(4)}
    close(load(exported, compile=True).infer(feeds, ["scores"]), load(exported).infer(feeds, ["scores"]))


def test_the_cap_of_memory_holds(tmp_path: Path) -> None:
    class Outer(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return (x[:, None] * x[None, :]).sum(1)

    sizes = {"x": {0: torch.export.Dim("n")}}
    backend = load(torch_models.export(Outer(), tmp_path / "m.pt2", (torch.zeros(4),), sizes), device_memory=2**28)
    try:
        with pytest.raises(InferenceFailed, match="OutOfMemoryError"):
            backend.infer({"x": np.ones(32 * 1024, np.float32)}, ["output"])  # 4 GiB between.
        assert backend.infer({"x": np.ones(4, np.float32)}, ["output"])[0].tolist() == [4] * 4
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0, 0)


# --- states that stay there: what `test_torch_arena` does on a CPU

ON_GPU: dict[str, Any] = {"accelerator": True, "hold_anywhere": False}


@pytest.mark.parametrize("model_format", ["torch-export", "torchscript"])
def test_many_sessions_in_a_small_ring_are_as_each_alone(tmp_path: Path, model_format: str) -> None:
    there, plain = torch_arenas.both(tmp_path, model_format, slots=20, most=8, **ON_GPU)
    assert (there.device, plain.device) == ("cuda:0", "cuda:0")
    counted = arenas.Counted(there)
    sessions = 1_000 if model_format == "torchscript" else 100
    arenas.interleaved(there, plain, sessions=sessions, steps=3, most=8)
    found, sent = counted.told()
    assert min(found, sent) > sessions / 2, "some were still there, and some not"


def test_what_is_found_and_what_is_sent(tmp_path: Path) -> None:
    arenas.found_and_sent(*torch_arenas.both(tmp_path, "torchscript", **ON_GPU))


def test_runs_that_fail_for_the_states_alone_go_on_without(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    arenas.given_up(*torch_arenas.both(tmp_path, "torchscript", **ON_GPU), caplog)


@pytest.mark.parametrize("datatype", list(DTYPES))
def test_every_bit_stays_on_the_device(tmp_path: Path, datatype: str) -> None:
    arenas.every_bit_stays(torch_arenas.carried(tmp_path, datatype, **ON_GPU))


def test_runs_with_states_there_are_shown_to_be_runs_without(tmp_path: Path) -> None:
    arenas.shown(torch_arenas.both(tmp_path, "torchscript", **ON_GPU)[0])
