"""What a torch file holds, read as the zip that it is before torch sees it, which would unpickle what it holds."""

import zipfile
from pathlib import Path, PurePosixPath

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


def _names(file: Path) -> set[str]:
    """Names of the members below the archive's one folder."""
    try:
        with zipfile.ZipFile(file) as archive:
            members = archive.namelist()
    except zipfile.BadZipFile:
        raise UnsafeFormat(f"{file.name} is no archive, so to load it would be to run a pickle; {_HOW}") from None
    return {str(PurePosixPath(*PurePosixPath(name).parts[1:])) for name in members}
