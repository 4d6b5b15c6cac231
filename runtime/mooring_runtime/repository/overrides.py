"""The files that come with a load: kept in a private temporary directory for as long as the model may need them."""

import re
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path

from mooring_runtime.errors import LoadFailed

_NAME = re.compile(r"(?:file:)?([1-9][0-9]{0,18})/([^/\x00-\x1f\x7f]{1,200})")


def write(model: str, files: Mapping[str, bytes]) -> Path:
    """A new directory, readable by this user alone, with the files `VERSION/NAME` or `file:VERSION/NAME`. Blocks.

    Raises LoadFailed for a name that is none of these, or where the disk does not take them.
    """
    named: dict[tuple[str, str], bytes] = {}
    for key, content in files.items():
        match = _NAME.fullmatch(key)
        if match is None or match[2] in (".", ".."):
            raise LoadFailed(
                f"failed to load '{model}': the file name '{key}' is not understood; name each file VERSION/NAME, as "
                "in file:1/model.onnx"
            )
        named[match[1], match[2]] = content
    directory = Path(tempfile.mkdtemp(prefix="mooring-"))
    try:
        for (version, name), content in named.items():
            (directory / version).mkdir(exist_ok=True)
            (directory / version / name).write_bytes(content)
    except OSError as error:
        remove(directory)
        raise LoadFailed(
            f"failed to load '{model}': its files cannot be written to {directory.parent}: {error.strerror}"
        ) from error
    return directory


def remove(directory: Path) -> None:
    """Delete the directory. Blocks."""
    shutil.rmtree(directory, ignore_errors=True)
