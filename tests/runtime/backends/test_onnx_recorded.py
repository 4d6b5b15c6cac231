"""IO binding between buffers that stay, on the CPU: the same calls as on a GPU, where the runs are recorded besides."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest

from mooring_runtime.backends.base import LoadOptions, loader
from mooring_runtime.backends.onnx.backend import direct
from mooring_runtime.backends.onnx.recorded import MOST_SHAPES, Recorded, obstacle
from mooring_runtime.messages import Array, ModelMetadata, TensorSpec
from tests.support import models


def recorded(file: Path) -> tuple[Recorded, ort.InferenceSession]:
    session = ort.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    metadata = loader("onnx")(file, LoadOptions("m", "1", 1, accelerator=False)).metadata
    return Recorded(session, direct(session), metadata, "cpu"), session


def rows(count: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).standard_normal((count, 16)).astype(np.float32)


def test_answers_equal_those_of_a_plain_run_at_every_size(tmp_path: Path) -> None:
    runs, session = recorded(models.perceptron(tmp_path / "m.onnx"))
    for seed, count in enumerate([1, 3, 1, 8, 3]):
        x = rows(count, seed)
        [y] = runs.run({"x": x}, ["y"])
        assert y.tolist() == session.run(["y"], {"x": x})[0].tolist()


def test_an_answer_is_not_written_to_by_the_next_run(tmp_path: Path) -> None:
    runs, _ = recorded(models.perceptron(tmp_path / "m.onnx"))
    [first] = runs.run({"x": rows(2, 1)}, ["y"])
    kept = first.tolist()
    runs.run({"x": rows(2, 2)}, ["y"])
    assert first.tolist() == kept


def test_each_shape_has_a_graph_of_its_own_and_too_many_shapes_have_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = models.perceptron(tmp_path / "m.onnx")
    _, session = recorded(file)
    seen: list[str] = []

    def watched(call: Callable[..., Any]) -> Callable[..., Any]:
        def run(*given: Any) -> Any:
            seen.append(given[-1].get_run_config_entry("gpu_graph_id"))
            return call(*given)

        return run

    metadata = loader("onnx")(file, LoadOptions("m", "1", 1, accelerator=False)).metadata
    monkeypatch.setattr(session, "run_with_iobinding", watched(session.run_with_iobinding))
    runs = Recorded(session, watched(direct(session)), metadata, "cpu")
    for count in [*range(1, MOST_SHAPES + 3), 1]:
        x = rows(count)
        [y] = runs.run({"x": x}, ["y"])
        assert y.tolist() == session.run(["y"], {"x": x})[0].tolist()
    assert seen == [*map(str, range(1, MOST_SHAPES + 1)), "-1", "-1", "1"]


def test_no_samples_are_run_unrecorded(tmp_path: Path) -> None:
    runs, _ = recorded(models.perceptron(tmp_path / "m.onnx"))
    [y] = runs.run({"x": rows(0)}, ["y"])
    assert y.shape == (0, 4)


def test_only_the_outputs_asked_for_come_in_their_order(tmp_path: Path) -> None:
    runs, _ = recorded(models.echo(tmp_path / "m.onnx", ("INT8", "FP32"), (2,)))
    feeds: dict[str, Array] = {"in_INT8": np.array([1, 2], np.int8), "in_FP32": np.array([3, 4], np.float32)}
    assert [array.dtype for array in runs.run(feeds, ["out_FP32", "out_INT8"])] == [np.float32, np.int8]
    assert [array.tolist() for array in runs.run(feeds, ["out_FP32"])] == [[3, 4]]


def described(*specs: TensorSpec) -> ModelMetadata:
    return ModelMetadata("m", "1", "onnxruntime_onnx", specs, specs)


def test_models_whose_sizes_are_known_before_the_run_can_be_recorded() -> None:
    assert obstacle(described(TensorSpec("x", "FP32", (-1, 4)))) is None
    assert obstacle(described(TensorSpec("x", "FP32", (2, 4)))) is None


@pytest.mark.parametrize(
    ("specs", "reason"),
    [
        ([TensorSpec("x", "FP32", (-1, -1))], r"input 'x' has shape \[-1, -1\], whose sizes are not all fixed"),
        ([TensorSpec("x", "FP32", (2, 4)), TensorSpec("n", "FP32", (-1,))], r"input 'n' has shape \[-1\]"),
        ([TensorSpec("x", "FP32", ())], r"input 'x' has shape \[\]"),
        ([TensorSpec("x", "BYTES", (2,))], "input 'x' is BYTES"),
        ([TensorSpec("x", "BF16", (2,))], "input 'x' is BF16"),
    ],
)
def test_other_models_say_why_not(specs: list[TensorSpec], reason: str) -> None:
    found = obstacle(described(*specs))
    assert found is not None
    assert re.match(reason, found)
