"""Finds a model's file, names its format, and refuses what would run code."""

import os
import zipfile
from pathlib import Path

from mooring_runtime.errors import ModelInvalid, ModelNotFound, UnsafeFormat

SUFFIXES = {
    ".onnx": "onnx",
    ".pt2": "torch-export",
    ".pt": "torchscript",
    ".pth": "torchscript",
    ".jit": "torchscript",
    ".py": "python",
}
"""Format of a file name's suffix. In a directory only `model.py` is a model: the other *.py are what it imports."""
PYTHON_FILE = "model.py"
CODE = {
    "torch-export": "an exported torch program, whose loading evaluates expressions from the file",
    "torchscript": "TorchScript, a program",
    "python": "Python code",
}
"""Formats whose loading runs what the file holds, and what that is; only for who trusts the file."""
REFUSED = {
    ".bin": "a pickle",
    ".ckpt": "a pickle",
    ".pkl": "a pickle",
    ".pickle": "a pickle",
    ".joblib": "a pickle",
    ".npy": "a pickle",
    ".mar": "an archive with Python code",
    ".so": "machine code",
}
"""Suffixes of files that no setting allows, and what they hold."""
ALLOW = "MOORING_ALLOW_UNSAFE_FORMATS"
_KNOWN = "*.onnx, *.pt2, *.pt, *.pth, *.jit or model.py"
_SAFE = "model in the format onnx (*.onnx)"


def find_model_file(path: Path, name: str | None = None, model_format: str | None = None) -> Path:
    """The model's file: `path` itself, or in that directory the file `name`, else `model.*`, else the only model file.

    `model_format` leaves the files of other formats out of the choice.
    Raises ModelNotFound when there is none or several or we may not look, UnsafeFormat when all that is there is
    refused.
    """
    try:
        return _find(path, name, model_format)
    except OSError as error:
        raise unreadable(path, error) from error


def unreadable(path: Path, error: OSError) -> ModelNotFound:
    """What to raise where we may not look: a claim whose folders only their owner may enter, a store that is away."""
    return ModelNotFound(f"{path} cannot be read by user {os.getuid()}: {error.strerror}")


def _find(path: Path, name: str | None, model_format: str | None) -> Path:
    if path.is_file():
        return path
    if not path.exists():
        raise ModelNotFound(f"{path}: there is no such file or directory")
    if not path.is_dir():
        raise ModelNotFound(f"{path} is neither a file nor a directory")
    names = sorted(entry.name for entry in path.iterdir() if entry.is_file() and not entry.name.startswith("."))
    if name is not None:
        if name not in names:
            raise ModelNotFound(f"{path} has no file {name}, which its configuration names; it has {_some(names)}")
        return path / name
    models = [each for each in names if _is_model(each, model_format)]
    named = [each for each in models if Path(each).stem == "model"]
    # The one that runs no code wins over its siblings: an export often leaves the torch file beside the ONNX one.
    for found in (["model.onnx"] if "model.onnx" in named else named, models):
        if len(found) == 1:
            return path / found[0]
    if models:
        raise ModelNotFound(
            f"{path} holds {len(models)} models ({_some(models)}), and no single one of them is named model.*: name "
            "one as file in mooring.json, or in MOORING_MODEL_PATH"
        )
    for each in names:
        refuse(path / each)
    raise ModelNotFound(f"{path} holds no model ({model_format or _KNOWN}); it has {_some(names)}")


def _is_model(name: str, wanted: str | None) -> bool:
    found = SUFFIXES.get(Path(name).suffix)
    return found is not None and wanted in (None, found) and (found != "python" or name == PYTHON_FILE)


def model_format(file: Path, wanted: str | None, *, allow_unsafe: bool = False) -> str:
    """The format to load `file` as: `wanted`, or what its suffix says.

    Raises UnsafeFormat where loading would run code and that is not allowed, or the file can only be a pickle, which
    never is; ModelInvalid for a suffix that says nothing, or something else than `wanted`.
    """
    refuse(file)
    told = SUFFIXES.get(file.suffix.lower())
    found = told or wanted
    if found is None:
        raise ModelInvalid(
            f"{file.name} has no known suffix: give it one of {_KNOWN}, or name the format in MOORING_MODEL_FORMAT"
        )
    if found in CODE and not allow_unsafe:
        raise UnsafeFormat(
            f"{file.name} is {CODE[found]}: loading it would execute code from the file; give a {_SAFE}, or set "
            f"{ALLOW}=true if you trust it"
        )
    if wanted not in (None, found):
        raise ModelInvalid(f"{file.name} is in the format {found} by its suffix, but MOORING_MODEL_FORMAT is {wanted}")
    if found == "torchscript" and not _is_torchscript(file):
        raise UnsafeFormat(
            f"{file.name} is no TorchScript archive, so to load it would be to load a pickle, which no setting allows; "
            "write the model by torch.jit.save or torch.export.save"
        )
    return found


def refuse(file: Path) -> None:
    """Raise UnsafeFormat when the file's suffix is one that is never loaded."""
    what = REFUSED.get(file.suffix.lower())
    if what is not None:
        raise UnsafeFormat(f"{file.name} is {what}: loading it would execute code from the file; give a {_SAFE}")


def _is_torchscript(file: Path) -> bool:
    """Whether it is a zip with TorchScript's constants; what torch.save writes is a zip without, or a bare pickle."""
    try:
        with zipfile.ZipFile(file) as archive:
            return any(name.endswith("/constants.pkl") for name in archive.namelist())
    except zipfile.BadZipFile:
        return False
    except OSError as error:
        raise ModelNotFound(f"cannot read {file}: {error.strerror}") from error


def _some(names: list[str]) -> str:
    shown = ", ".join(names[:5]) or "no files"
    return shown + (f" and {len(names) - 5} more" if len(names) > 5 else "")
