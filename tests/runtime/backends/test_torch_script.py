"""TorchScript: its arguments by name or by place, its results, and what is no TorchScript."""

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mooring_runtime.backends.base import Backend, LoadOptions, loader
from mooring_runtime.errors import InferenceFailed, ModelInvalid, UnsafeFormat
from mooring_runtime.messages import Array, TensorSpec
from tests.support import torch_models

pytestmark = pytest.mark.timeout(120)

X = TensorSpec("x", "FP32", (-1, 4))
OUTPUTS = (TensorSpec("scores", "FP32", (-1, 3)), TensorSpec("total", "FP32", (-1,)))


def load(file: Path, inputs: tuple[TensorSpec, ...], outputs: tuple[TensorSpec, ...], **more: Any) -> Backend:
    options: dict[str, Any] = {"accelerator": False, "allow_unsafe": True} | more
    return loader("torchscript")(file, LoadOptions("m", "1", 1, inputs=inputs, outputs=outputs, **options))


def rows(count: int) -> Array:
    return np.random.default_rng(count).standard_normal((count, 4)).astype(np.float32)


def test_answers_are_those_of_the_module(tmp_path: Path) -> None:
    backend = load(torch_models.script(torch_models.Perceptron(), tmp_path / "model.pt"), (X,), OUTPUTS, max_batch=8)
    x = rows(3)
    total, scores = backend.infer({"x": x}, ["total", "scores"])
    with torch.no_grad():
        expected = torch_models.Perceptron()(torch.from_numpy(x))
    np.testing.assert_allclose(scores, expected["scores"].numpy(), rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(total, expected["total"].numpy(), rtol=1e-6, atol=1e-6)
    assert (backend.metadata.platform, backend.metadata.max_batch, backend.device) == ("pytorch_libtorch", 8, "CPU")
    assert backend.memory == 4 * (4 * 16 + 16 + 16 * 3 + 3)


class Shift(torch.nn.Module):
    """A tensor, numbers, one of which may be left out, and several results."""

    def forward(self, x: torch.Tensor, by: int, scale: float = 1.0) -> tuple[torch.Tensor, torch.Tensor]:
        return (x + by) * scale, x.to(torch.bfloat16)


@pytest.fixture
def shift(tmp_path: Path) -> Path:
    return torch_models.script(Shift(), tmp_path / "model.pt")


BY, SCALE = TensorSpec("by", "INT64", ()), TensorSpec("scale", "FP32", (1,))
TWO = (TensorSpec("a", "FP32", (-1, 4)), TensorSpec("b", "BF16", (-1, 4)))
ONES = np.ones((1, 4), np.float32)


def test_numbers_come_as_tensors_of_one_element(shift: Path) -> None:
    backend = load(shift, (SCALE, X, BY), TWO)
    feeds = {"x": ONES, "by": np.array(2), "scale": np.array([10], np.float32)}
    moved, same = backend.infer(feeds, ["a", "b"])
    assert moved.tolist() == [[30] * 4]
    assert same.tolist() == [[0x3F80] * 4]


def test_an_argument_that_has_a_value_may_be_left_out(shift: Path) -> None:
    assert load(shift, (X, BY), TWO).infer({"x": ONES, "by": np.array(2)}, ["a"])[0].tolist() == [[3] * 4]


def test_other_names_go_by_their_place(shift: Path) -> None:
    backend = load(shift, (TensorSpec("pixels", "FP32", (-1, 4)), TensorSpec("offset", "INT64", ())), TWO)
    assert backend.infer({"pixels": ONES, "offset": np.array(2)}, ["a"])[0].tolist() == [[3] * 4]


def test_several_elements_are_no_number(shift: Path) -> None:
    backend = load(shift, (X, TensorSpec("by", "INT64", (-1,))), TWO)
    with pytest.raises(InferenceFailed, match="the model failed: RuntimeError: shape"):
        backend.infer({"x": ONES, "by": np.array([1, 2])}, ["a"])


def test_without_a_declaration_it_says_what_to_write(shift: Path) -> None:
    with pytest.raises(ModelInvalid) as caught:
        load(shift, (), ())
    assert '{"inputs": [{"name": "x", "datatype": "FP32", "shape": [-1, 4]}, {"name": "by",' in str(caught.value)


@pytest.mark.parametrize(
    ("inputs", "words"),
    [
        ((X,), r"declares the inputs 'x', but its forward takes 'x', 'by', 'scale'"),
        ((X, TensorSpec("b", "INT64", ())), r"declares the inputs 'x', 'b', but its forward takes"),
        ((X, BY, SCALE, TensorSpec("more", "FP32", ())), r"declares the inputs 'x', 'by', 'scale', 'more', but"),
        ((TensorSpec("x", "BYTES", (-1,)), BY), r"declares 'x' as BYTES, which torch has no tensors of"),
    ],
)
def test_a_declaration_that_does_not_fit_the_arguments(shift: Path, inputs: Any, words: str) -> None:
    with pytest.raises(ModelInvalid, match=words):
        load(shift, inputs, TWO)


def test_an_argument_that_v2_cannot_carry(tmp_path: Path) -> None:
    class Texts(torch.nn.Module):
        def forward(self, x: list[str]) -> int:
            return len(x)

    with pytest.raises(ModelInvalid, match=r"'x' is a List\[str\], it must be a tensor, an int, a float or a bool"):
        load(torch_models.script(Texts(), tmp_path / "model.pt"), (X,), TWO)


@pytest.mark.parametrize(
    ("outputs", "words"),
    [
        ((TensorSpec("a", "FP64", (-1, 4)),), "gave output 'a' as torch.float32, it is declared as FP64"),
        ((*TWO, TensorSpec("c", "FP32", (1,))), "gave nothing as output 'c', it must be a tensor"),
    ],
)
def test_results_that_are_not_as_declared(shift: Path, outputs: Any, words: str) -> None:
    backend = load(shift, (X, BY), outputs)
    with pytest.raises(InferenceFailed, match=words):
        backend.infer({"x": ONES, "by": np.array(1)}, [outputs[-1].name])


class Counter(torch.nn.Module):
    """Keeps a tensor that is neither a parameter nor a buffer, and gives it away."""

    def __init__(self) -> None:
        super().__init__()
        self.runs = torch.zeros(1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.runs.add_(1)


def test_an_answer_is_not_written_to_by_the_next_run(tmp_path: Path) -> None:
    file = torch_models.script(Counter(), tmp_path / "model.pt")
    backend = load(file, (X,), (TensorSpec("runs", "FP32", (1,)),))
    [first] = backend.infer({"x": ONES}, ["runs"])
    [second] = backend.infer({"x": ONES}, ["runs"])
    assert (first.tolist(), second.tolist()) == ([1], [2])


def test_torch_compile_is_not_for_it(shift: Path, caplog: pytest.LogCaptureFixture) -> None:
    load(shift, (X, BY), TWO, compile=True)
    assert "model 'm' runs uncompiled: torch.compile does not take TorchScript" in caplog.text


def test_it_is_off_unless_it_is_allowed(shift: Path) -> None:
    with pytest.raises(
        UnsafeFormat, match=r"model\.pt is TorchScript, a program: .* MOORING_ALLOW_UNSAFE_FORMATS=true"
    ):
        load(shift, (X,), TWO, allow_unsafe=False)


class Opens:
    """Leaves a file when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> Any:
        return open, (str(self.marker), "w")


@pytest.mark.parametrize("zipped", [True, False])
def test_a_pickle_is_never_loaded(tmp_path: Path, zipped: bool) -> None:
    file, marker = tmp_path / "model.pt", tmp_path / "ran"
    torch.save({"weights": Opens(marker)}, file, _use_new_zipfile_serialization=zipped)
    with pytest.raises(UnsafeFormat, match="pickle"):
        load(file, (X,), OUTPUTS)
    assert not marker.exists()


def test_a_broken_archive_is_told_in_torchs_words(shift: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(shift) as old, zipfile.ZipFile(tmp_path / "m.pt", "w") as new:
        for name in old.namelist():
            new.writestr(name, b"" if name.endswith(".py") else old.read(name))
    with pytest.raises(ModelInvalid, match=r"m\.pt is no model that torch .* can serve: "):
        load(tmp_path / "m.pt", (X,), OUTPUTS)
