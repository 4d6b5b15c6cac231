"""What a torch file holds, read as the zip that it is before torch sees it, which would unpickle what it holds."""

import io
import json
import zipfile
from pathlib import Path, PurePosixPath
from typing import Any

import torch

from mooring_runtime.errors import ModelInvalid, UnsafeFormat

_HOW = "write the model by torch.export.save (.pt2) or torch.jit.save (.pt)"


def require_script(file: Path) -> None:
    """Raise UnsafeFormat unless the file is TorchScript: what torch.save writes runs code when it is unpickled."""
    names = _names(file)
    if "constants.pkl" not in names or not any(name.startswith("code/") for name in names):
        raise UnsafeFormat(
            f"{file.name} is no TorchScript but a pickle of torch.save, which runs code when loaded; {_HOW}"
        )


def require_export(file: Path) -> None:
    """Raise UnsafeFormat, or ModelInvalid, unless it is an exported program without machine code or pickled parts."""
    names = _names(file)
    if "archive_format" not in names or not any(name.startswith("models/") for name in names):
        what = "TorchScript: name it *.pt" if "constants.pkl" in names else f"no program of torch.export; {_HOW}"
        raise ModelInvalid(f"{file.name} is {what}")
    for name in sorted(names):
        if name.startswith("data/aotinductor/"):
            raise UnsafeFormat(f"{file.name} holds machine code ({name}); {_HOW}, without AOTInductor")
        if name.startswith(("data/constants/opaque_obj", "data/constants/custom_obj")):
            raise UnsafeFormat(f"{file.name} holds an object that is pickled ({name}); export the model without it")
    with zipfile.ZipFile(file) as archive:
        for member in archive.infolist():  # Not by name, which several members may have.
            _require_plain(file, _name(member.filename), archive, member)


def _require_plain(file: Path, name: str, archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> None:
    """Raise UnsafeFormat for a member that torch would unpickle without restriction.

    It does so with sample inputs, and weights of an older layout, that its restricted reader refuses, and with tensors
    that the file's own configuration calls pickled.
    """
    if not name.startswith(("data/sample_inputs/", "data/weights/", "data/constants/")):
        return
    if not name.endswith((".pt", "_config.json")):
        return
    try:
        content = archive.read(member)
    except Exception as error:  # zipfile raises of every kind.
        raise ModelInvalid(f"{file.name} is no archive that can be read: {name}: {error}") from error
    if name.endswith(".pt") and content:
        try:
            torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
        except Exception as error:  # torch raises of every kind.
            raise UnsafeFormat(
                f"{file.name} holds a pickle of more than tensors, numbers and texts ({name}), which runs code when "
                "loaded; export the model with example inputs of these alone"
            ) from error
    if name.endswith("_config.json") and _names_pickles(content):
        raise UnsafeFormat(f"{file.name} holds tensors that are pickled ({name}); export the model with plain tensors")


def _names_pickles(content: bytes) -> bool:
    """Whether the configuration of weights or constants calls any of them pickled."""
    found: list[bool] = []

    def look(each: dict[str, Any]) -> None:
        found.append("path_name" in each and bool(each.get("use_pickle")))

    try:
        json.loads(content.decode(), object_hook=look)
    except ValueError:
        return False  # torch reads it in the same way, and says so.
    return any(found)


def _names(file: Path) -> set[str]:
    """Names of the members below the archive's one folder."""
    try:
        with zipfile.ZipFile(file) as archive:
            members = archive.namelist()
    except zipfile.BadZipFile:
        raise UnsafeFormat(f"{file.name} is no archive, so to load it would be to run a pickle; {_HOW}") from None
    return set(map(_name, members))


def _name(member: str) -> str:
    """Below the archive's one folder, and in small letters: torch's reader finds a member in whatever letters."""
    return str(PurePosixPath(*PurePosixPath(member).parts[1:])).lower()
