"""Finds the model's file, names its format, and refuses what would run code; pure but for reading a directory."""

import os
from pathlib import Path

from mooring_runtime.errors import ModelInvalid, ModelNotFound, UnsafeFormat

SUFFIXES = {".onnx": "onnx"}
"""Format of a file name's suffix."""
UNSAFE = {
    ".pt": "a pickle",
    ".pth": "a pickle",
    ".bin": "a pickle",
    ".ckpt": "a pickle",
    ".pkl": "a pickle",
    ".pickle": "a pickle",
    ".joblib": "a pickle",
    ".npy": "a pickle",
    ".mar": "an archive with Python code",
    ".py": "Python code",
    ".so": "machine code",
}
"""Suffixes of files that execute code when they are loaded, and what they hold."""
_ALLOWED = "model in the format onnx (*.onnx)"


def find_model_file(path: Path) -> Path:
    """The model's file: `path` itself, or in a directory `model.onnx`, else its single `*.onnx` file.

    Raises ModelNotFound when there is none or several or we may not look, UnsafeFormat when it would run code.
    """
    try:
        return _find(path)
    except OSError as error:
        # A claim whose folders only their owner may enter, or a store that is away.
        raise ModelNotFound(
            f"MOORING_MODEL_PATH is {path}: it cannot be read by user {os.getuid()}: {error.strerror}"
        ) from error


def _find(path: Path) -> Path:
    if path.is_file():
        return path
    if not path.exists():
        raise ModelNotFound(f"MOORING_MODEL_PATH is {path}: there is no such file or directory")
    if not path.is_dir():
        raise ModelNotFound(f"MOORING_MODEL_PATH is {path}: that is neither a file nor a directory")
    names = sorted(entry.name for entry in path.iterdir() if entry.is_file() and not entry.name.startswith("."))
    models = [name for name in names if Path(name).suffix in SUFFIXES]
    if "model.onnx" in models or len(models) == 1:
        return path / ("model.onnx" if "model.onnx" in models else models[0])
    if models:
        raise ModelNotFound(
            f"{path} holds {len(models)} models ({_some(models)}) and none is named model.onnx: "
            "name one file in MOORING_MODEL_PATH"
        )
    for name in names:
        refuse_unsafe(path / name)
    raise ModelNotFound(f"{path} holds no {_ALLOWED}; it has {_some(names) if names else 'no files'}")


def model_format(file: Path, wanted: str | None) -> str:
    """The format to load `file` as: `wanted`, or what its suffix says.

    Raises UnsafeFormat or ModelInvalid where the suffix is not one of ours, whatever the settings say of the format.
    """
    refuse_unsafe(file)
    found = wanted or SUFFIXES.get(file.suffix)
    if found is None:
        raise ModelInvalid(
            f"{file.name} has no known suffix: give a {_ALLOWED}, or name the format in MOORING_MODEL_FORMAT"
        )
    return found


def refuse_unsafe(file: Path) -> None:
    """Raise UnsafeFormat when the file's suffix is one whose loading executes what it holds."""
    what = UNSAFE.get(file.suffix.lower())
    if what is not None:
        raise UnsafeFormat(f"{file.name} is {what}: loading it would execute code from the file; give a {_ALLOWED}")


def _some(names: list[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
