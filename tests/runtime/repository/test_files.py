from pathlib import Path

import pytest

from mooring_runtime.errors import ModelInvalid, ModelNotFound, MooringError, UnsafeFormat
from mooring_runtime.repository.files import UNSAFE, find_model_file, model_format


def directory(path: Path, *names: str) -> Path:
    for name in names:
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(b"x")
    return path


def test_a_file_is_itself(tmp_path: Path) -> None:
    directory(tmp_path, "a.onnx", "b.onnx")
    assert find_model_file(tmp_path / "b.onnx") == tmp_path / "b.onnx"


def test_a_path_that_the_system_will_not_look_at_is_told(tmp_path: Path) -> None:
    # Stands for a folder that may not be entered, which tests run by root cannot make.
    with pytest.raises(ModelNotFound, match=r"it cannot be read by user \d+: File name too long"):
        find_model_file(tmp_path / ("x" * 300))


@pytest.mark.parametrize(
    ("names", "found"),
    [
        (("model.onnx", "other.onnx"), "model.onnx"),
        (("only.onnx", "README.md", "weights.bin"), "only.onnx"),
        (("only.onnx", ".hidden.onnx", "sub/model.onnx"), "only.onnx"),
    ],
)
def test_the_model_in_a_directory(tmp_path: Path, names: tuple[str, ...], found: str) -> None:
    assert find_model_file(directory(tmp_path, *names)) == tmp_path / found


@pytest.mark.parametrize(
    ("names", "error", "words"),
    [
        ((), ModelNotFound, "it has no files"),
        (("README.md",), ModelNotFound, "holds no model in the format onnx .*; it has README.md"),
        (("a.onnx", "b.onnx"), ModelNotFound, r"holds 2 models \(a.onnx, b.onnx\) and none is named model.onnx"),
        (("model.pt",), UnsafeFormat, "model.pt is a pickle: loading it would execute code from the file"),
        (("model.py",), UnsafeFormat, "model.py is Python code"),
        (("sub/model.onnx",), ModelNotFound, "holds no"),
        (tuple(f"{i}.onnx" for i in range(9)), ModelNotFound, "and 4 more"),
    ],
)
def test_what_cannot_be_served_is_told(
    tmp_path: Path, names: tuple[str, ...], error: type[MooringError], words: str
) -> None:
    with pytest.raises(error, match=words):
        find_model_file(directory(tmp_path, *names))


def test_nothing_there(tmp_path: Path) -> None:
    with pytest.raises(ModelNotFound, match=r"MOORING_MODEL_PATH is .*: there is no such file or directory"):
        find_model_file(tmp_path / "missing")


def test_formats() -> None:
    assert model_format(Path("a.onnx"), None) == "onnx"
    assert model_format(Path("a.model"), "onnx") == "onnx"
    with pytest.raises(ModelInvalid, match=r"a\.model has no known suffix"):
        model_format(Path("a.model"), None)


@pytest.mark.parametrize("suffix", [*UNSAFE, ".PT"])
def test_no_setting_makes_an_unsafe_file_safe(suffix: str) -> None:
    with pytest.raises(UnsafeFormat, match=r"give a model in the format onnx \(\*\.onnx\)"):
        model_format(Path(f"a{suffix}"), "onnx")
