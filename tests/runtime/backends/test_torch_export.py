"""Programs of torch.export: described by their own graph, run as torch runs them."""

import importlib
import io
import json
import re
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mooring_runtime.backends.base import Backend, LoadOptions, loader
from mooring_runtime.errors import InferenceFailed, ModelInvalid, ModelRefused, UnsafeFormat
from mooring_runtime.messages import Array, TensorSpec
from tests.support import torch_models

# The first export of a process takes seconds, in which torch imports what it needs for it.
pytestmark = pytest.mark.timeout(120)


def load(file: Path, **more: Any) -> Backend:
    options: dict[str, Any] = {"accelerator": False, "allow_unsafe": True} | more
    return loader("torch-export")(file, LoadOptions("m", "1", 1, **options))


@pytest.fixture(scope="module")
def perceptron(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return torch_models.export_perceptron(tmp_path_factory.mktemp("torch") / "model.pt2")


OURS = "mooring_runtime.backends.torch.backend"
"""The logger; torch's own say a lot."""


def rows(count: int) -> Array:
    return np.random.default_rng(count).standard_normal((count, 4)).astype(np.float32)


def test_the_program_says_what_it_takes_and_gives(perceptron: Path) -> None:
    backend = load(perceptron, max_batch=8, labels={"scores": ("a", "b", "c")})
    metadata = backend.metadata
    assert (metadata.name, metadata.version, metadata.platform) == ("m", "1", "pytorch_export")
    assert {name: (spec.datatype, spec.shape) for name, spec in metadata.inputs.items()} == {"x": ("FP32", (-1, 4))}
    assert {name: (spec.datatype, spec.shape) for name, spec in metadata.outputs.items()} == {
        "scores": ("FP32", (-1, 3)),
        "total": ("FP32", (-1,)),
    }
    assert (metadata.max_batch, metadata.labels) == (8, {"scores": ("a", "b", "c")})
    assert backend.device == "CPU"
    assert backend.memory == 4 * (4 * 16 + 16 + 16 * 3 + 3)


@pytest.mark.parametrize("count", [0, 1, 5])
def test_answers_are_those_of_the_module(perceptron: Path, count: int) -> None:
    x = rows(count)
    total, scores = load(perceptron).infer({"x": x}, ["total", "scores"])
    with torch.no_grad():
        expected = torch_models.Perceptron()(torch.from_numpy(x))
    np.testing.assert_allclose(scores, expected["scores"].numpy(), rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(total, expected["total"].numpy(), rtol=1e-6, atol=1e-6)


def test_a_request_is_not_written_to(tmp_path: Path) -> None:
    class Doubler(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x.mul_(2)

    backend = load(torch_models.export(Doubler(), tmp_path / "m.pt2", (torch.zeros(2),)))
    sent = np.frombuffer(np.ones(2, np.float32).tobytes(), np.float32)
    assert backend.infer({"x": sent}, ["output"])[0].tolist() == [2, 2]
    assert sent.tolist() == [1, 1]


class Nest(torch.nn.Module):
    """Constants, keywords, a nest of results, another dtype, and a tensor of its own that each run changes."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("runs", torch.zeros(1))

    def forward(self, x: torch.Tensor, times: int, *, mask: torch.Tensor) -> Any:
        self.runs.add_(1)
        return x * times, [self.runs, {"mask": ~mask, "nothing": None}]


@pytest.fixture(scope="module")
def nest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    args, kwargs = (torch.zeros(2, dtype=torch.bfloat16), 3), {"mask": torch.zeros(2, dtype=torch.bool)}
    return torch_models.export(Nest(), tmp_path_factory.mktemp("torch") / "m.pt2", args, kwargs=kwargs)


FEEDS: dict[str, Array] = {"x": np.array([0x3F80, 0x4000], np.uint16), "mask": np.array([True, False])}


def test_arguments_and_results_may_be_nested(nest: Path) -> None:
    backend = load(nest)
    assert [(spec.name, spec.datatype) for spec in backend.metadata.inputs.values()] == [
        ("x", "BF16"),
        ("mask", "BOOL"),
    ]
    assert backend.metadata.output_names == ("output_0", "output_1_0", "1_1_mask")
    tripled, runs, mask = backend.infer(FEEDS, backend.metadata.output_names)
    assert tripled.tolist() == [0x4040, 0x40C0]
    assert runs.tolist() == [1]
    assert mask.tolist() == [False, True]


def test_an_answer_is_not_written_to_by_the_next_run(nest: Path) -> None:
    backend = load(nest)
    [first] = backend.infer(FEEDS, ["output_1_0"])
    [second] = backend.infer(FEEDS, ["output_1_0"])
    assert (first.tolist(), second.tolist()) == ([1], [2])


def test_the_configuration_gives_other_names(perceptron: Path) -> None:
    backend = load(
        perceptron,
        inputs=(TensorSpec("features", "FP32", (-1, 4)),),
        outputs=(TensorSpec("a", "FP32", (-1, 3)), TensorSpec("b", "FP32", (-1,))),
    )
    assert [array.shape for array in backend.infer({"features": rows(2)}, ["b", "a"])] == [(2,), (2, 3)]


@pytest.mark.parametrize("spec", [TensorSpec("x", "FP64", (-1, 4)), TensorSpec("x", "FP32", (-1,))])
def test_a_configuration_that_the_program_has_not_is_refused(perceptron: Path, spec: TensorSpec) -> None:
    with pytest.raises(ModelInvalid, match=r"inputs: mooring\.json declares 'x' .* the program has 'x' FP32 \[-1, 4\]"):
        load(perceptron, inputs=(spec,))


def test_a_size_that_the_program_was_not_made_for_is_the_clients_fault(tmp_path: Path) -> None:
    sizes = {"x": {0: torch.export.Dim("n", min=1, max=8)}}
    backend = load(torch_models.export(torch_models.Perceptron(), tmp_path / "m.pt2", (torch.zeros(2, 4),), sizes))
    with pytest.raises(ModelRefused, match=r"the model refused the input: Guard failed: x\.size\(\)\[0\] <= 8"):
        backend.infer({"x": rows(9)}, ["scores"])


def test_a_run_that_fails_says_why(tmp_path: Path) -> None:
    class Table(torch.nn.Module):
        def forward(self, index: torch.Tensor) -> torch.Tensor:
            return torch.arange(4)[index]

    backend = load(torch_models.export(Table(), tmp_path / "m.pt2", (torch.zeros(1, dtype=torch.int64),)))
    with pytest.raises(InferenceFailed, match="the model failed: IndexError: index 7 is out of bounds"):
        backend.infer({"index": np.array([7])}, ["output"])


def test_it_is_off_unless_it_is_allowed(perceptron: Path) -> None:
    with pytest.raises(
        UnsafeFormat, match=r"evaluates expressions from the file: .* MOORING_ALLOW_UNSAFE_FORMATS=true"
    ):
        load(perceptron, allow_unsafe=False)


def add(source: Path, file: Path, member: str, content: bytes = b"") -> Path:
    """A copy of an archive with another content of a member, which it may have had or not."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(file, "w") as new:
        for name in old.namelist():
            if name != f"model/{member}":
                new.writestr(name, old.read(name))
        new.writestr(f"model/{member}", content)
    return file


@pytest.mark.parametrize(
    ("member", "words"),
    [
        ("data/aotinductor/model/m.so", r"holds machine code \(data/aotinductor/model/m\.so\)"),
        ("data/constants/opaque_obj_0", "holds an object that is pickled"),
        ("data/constants/custom_obj_0", "holds an object that is pickled"),
    ],
)
def test_what_is_more_than_a_graph_is_never_loaded(perceptron: Path, tmp_path: Path, member: str, words: str) -> None:
    with pytest.raises(UnsafeFormat, match=words):
        load(add(perceptron, tmp_path / "m.pt2", member))


class Code:
    """Makes a file when it is unpickled."""

    def __init__(self, file: Path) -> None:
        self._file = file

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self._file,)


@pytest.mark.parametrize(
    "member",
    ["data/sample_inputs/model.pt", "data/Sample_Inputs/MODEL.pt", "data/weights/model.pt", "data/constants/model.pt"],
)
def test_a_pickle_of_more_than_tensors_is_never_loaded(perceptron: Path, tmp_path: Path, member: str) -> None:
    pickled = io.BytesIO()
    torch.save(Code(tmp_path / "ran"), pickled)
    with pytest.raises(UnsafeFormat, match=r"m\.pt2 holds a pickle of more than tensors, numbers and texts \(data/"):
        load(add(perceptron, tmp_path / "m.pt2", member, pickled.getvalue()))
    assert not (tmp_path / "ran").exists()


def test_tensors_that_are_pickled_are_never_loaded(perceptron: Path, tmp_path: Path) -> None:
    pickled = io.BytesIO()
    torch.save(Code(tmp_path / "ran"), pickled)
    with_code = add(perceptron, tmp_path / "one.pt2", "data/weights/weight_0", pickled.getvalue())
    config = {"config": {"w": {"path_name": "weight_0", "is_param": True, "use_pickle": True, "tensor_meta": None}}}
    member = "data/weights/model_weights_config.json"
    with pytest.raises(UnsafeFormat, match=rf"m\.pt2 holds tensors that are pickled \({member}\)"):
        load(add(with_code, tmp_path / "m.pt2", member, json.dumps(config).encode()))
    assert not (tmp_path / "ran").exists()


def test_an_archive_that_is_damaged_is_told(perceptron: Path, tmp_path: Path) -> None:
    file = add(perceptron, tmp_path / "m.pt2", "data/sample_inputs/model.pt", b"what it was")
    file.write_bytes(file.read_bytes().replace(b"what it was", b"what it is!"))
    with pytest.raises(
        ModelInvalid, match=r"m\.pt2 is no archive that can be read: data/sample_inputs/model\.pt: Bad CRC"
    ):
        load(file)


def test_other_archives_and_files_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "m.pt2"
    torch.save(torch.nn.Linear(1, 1), file)
    with pytest.raises(
        ModelInvalid, match=r"m\.pt2 is no program of torch\.export; write the model by torch\.export\.save"
    ):
        load(file)
    torch_models.script(torch_models.Perceptron(), file)
    with pytest.raises(ModelInvalid, match=r"m\.pt2 is TorchScript: name it \*\.pt"):
        load(file)
    file.write_bytes(b"\x80\x02}q\x00.")
    with pytest.raises(UnsafeFormat, match=r"m\.pt2 is no archive"):
        load(file)


def test_a_program_that_torch_cannot_read_is_told_in_its_words(perceptron: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(perceptron) as old, zipfile.ZipFile(tmp_path / "m.pt2", "w") as new:
        for name in old.namelist():
            new.writestr(name, b"{}" if name.endswith("models/model.json") else old.read(name))
    with pytest.raises(ModelInvalid, match=r"m\.pt2 is no model that torch .* can serve: "):
        load(tmp_path / "m.pt2")


def test_compiled_it_gives_the_same_answers_at_every_size(perceptron: Path, caplog: pytest.LogCaptureFixture) -> None:
    backend, plain = load(perceptron, compile=True), load(perceptron)
    for count in (1, 2, 7):
        x = rows(count)
        expected = plain.infer({"x": x}, ["total"])[0]
        np.testing.assert_allclose(backend.infer({"x": x}, ["total"])[0], expected, rtol=1e-5, atol=1e-6)
    assert OURS not in [record.name for record in caplog.records]


def test_without_a_compiler_it_runs_uncompiled(perceptron: Path, caplog: pytest.LogCaptureFixture) -> None:
    inductor = importlib.import_module("torch._inductor.config")
    # Without its caches, which hold what the test before had translated.
    with inductor.patch({"cpp.cxx": (None, "/nowhere/c++"), "force_disable_caches": True}):
        backend = load(perceptron, compile=True)
        assert backend.infer({"x": rows(2)}, ["total"])[0].shape == (2,)
    [line] = [record.getMessage() for record in caplog.records if record.name == OURS]
    assert re.match("model 'm' runs uncompiled: torch.compile failed: .*No working C", line)


def test_a_closed_model_lets_go_of_its_weights(perceptron: Path) -> None:
    backend = load(perceptron)
    backend.close()
    with pytest.raises(InferenceFailed, match="gave nothing as output 'total'"):
        backend.infer({"x": rows(1)}, ["total"])
