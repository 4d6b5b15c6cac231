import pickle
import zipfile
from pathlib import Path

import pytest

from mooring_runtime.errors import ModelInvalid, ModelNotFound, MooringError, UnsafeFormat
from mooring_runtime.repository.files import REFUSED, find_model_file, model_format


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
    with pytest.raises(ModelNotFound, match=r"cannot be read by user \d+: File name too long"):
        find_model_file(tmp_path / ("x" * 300))


@pytest.mark.parametrize(
    ("names", "found"),
    [
        (("model.onnx", "other.onnx"), "model.onnx"),
        (("only.onnx", "README.md", "weights.bin"), "only.onnx"),
        (("only.onnx", ".hidden.onnx", "sub/model.onnx"), "only.onnx"),
        (("model.onnx", "model.pt"), "model.onnx"),
        (("model.py", "helper.py", "weights.pt"), "model.py"),
        (("model.pt2", "other.onnx"), "model.pt2"),
        (("only.pt2", "helper.py"), "only.pt2"),
    ],
)
def test_the_model_in_a_directory(tmp_path: Path, names: tuple[str, ...], found: str) -> None:
    assert find_model_file(directory(tmp_path, *names)) == tmp_path / found


@pytest.mark.parametrize(
    ("names", "error", "words"),
    [
        ((), ModelNotFound, "it has no files"),
        (("README.md",), ModelNotFound, r"holds no model \(\*.onnx, .* or model.py\); it has README.md"),
        (
            ("a.onnx", "b.onnx"),
            ModelNotFound,
            r"2 models \(a.onnx, b.onnx\), and no single one .* named model.\*: name",
        ),
        (("model.pt", "model.py"), ModelNotFound, "name one as file in mooring.json, or in MOORING_MODEL_PATH"),
        (("model.pkl",), UnsafeFormat, "model.pkl is a pickle: loading it would execute code from the file"),
        (("helper.py",), ModelNotFound, "it has helper.py"),
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
    with pytest.raises(ModelNotFound, match=r"missing: there is no such file or directory"):
        find_model_file(tmp_path / "missing")
    with pytest.raises(ModelNotFound, match=r"/dev/null is neither a file nor a directory"):
        find_model_file(Path("/dev/null"))


def test_a_name_or_a_format_settles_the_choice(tmp_path: Path) -> None:
    directory(tmp_path, "a.onnx", "b.onnx", "model.py", "c.pt2")
    assert find_model_file(tmp_path, "b.onnx") == tmp_path / "b.onnx"
    assert find_model_file(tmp_path, None, "torch-export") == tmp_path / "c.pt2"
    with pytest.raises(ModelNotFound, match=r"has no file z\.onnx, which its configuration names; it has a\.onnx"):
        find_model_file(tmp_path, "z.onnx")


def test_formats() -> None:
    assert model_format(Path("a.onnx"), None) == "onnx"
    assert model_format(Path("a.model"), "onnx") == "onnx"
    assert model_format(Path("a.pt2"), None, allow_unsafe=True) == "torch-export"
    assert model_format(Path("model.py"), None, allow_unsafe=True) == "python"
    with pytest.raises(
        ModelInvalid, match=r"a\.model has no known suffix: .* or name the format in MOORING_MODEL_FORMAT"
    ):
        model_format(Path("a.model"), None)
    with pytest.raises(ModelInvalid, match=r"a\.onnx is in the format onnx by its suffix, but .*_FORMAT is python"):
        model_format(Path("a.onnx"), "python", allow_unsafe=True)


@pytest.mark.parametrize("suffix", [*REFUSED, ".PKL"])
@pytest.mark.parametrize("allow", [False, True])
def test_no_setting_makes_an_unsafe_file_safe(suffix: str, allow: bool) -> None:
    with pytest.raises(UnsafeFormat, match=r"give a model in the format onnx \(\*\.onnx\)"):
        model_format(Path(f"a{suffix}"), "onnx", allow_unsafe=allow)


@pytest.mark.parametrize("name", ["a.pt2", "a.pt", "a.PTH", "a.jit", "model.py"])
def test_code_is_loaded_only_where_that_is_allowed(name: str) -> None:
    words = "execute code from the file; give a model .* or set MOORING_ALLOW_UNSAFE_FORMATS=true if you trust it"
    for wanted in (None, "onnx", "python"):
        with pytest.raises(UnsafeFormat, match=words):
            model_format(Path(name), wanted)
    with pytest.raises(UnsafeFormat, match=r"a\.model is Python code"):
        model_format(Path("a.model"), "python")


def test_torchscript_is_told_from_a_pickle(tmp_path: Path) -> None:
    script, saved, bare = tmp_path / "script.pt", tmp_path / "saved.pt", tmp_path / "bare.pt"
    for file, names in (
        (script, ["m/data.pkl", "m/constants.pkl", "m/code/x.py"]),
        (saved, ["m/data.pkl", "m/data/0"]),
    ):
        with zipfile.ZipFile(file, "w") as archive:
            for name in names:
                archive.writestr(name, b"")
    bare.write_bytes(pickle.dumps({}))
    assert model_format(script, None, allow_unsafe=True) == "torchscript"
    for file in (saved, bare):
        with pytest.raises(UnsafeFormat, match=r"no TorchScript archive.* a pickle, which no setting allows"):
            model_format(file, None, allow_unsafe=True)
    with pytest.raises(ModelNotFound, match="cannot read"):
        model_format(tmp_path / "missing.pt", None, allow_unsafe=True)
