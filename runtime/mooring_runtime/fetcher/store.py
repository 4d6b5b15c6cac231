"""The model's file on its volume: what is there already, what is half there, and how it becomes whole at once.

    NAME.partial        the bytes so far; kept when the container ends, for the next one to go on
    NAME.partial.json   which answer they are from: its ETag or Last-Modified, needed to ask for the rest of the same
    NAME                the file, moved there only when its digest was right
    NAME.complete       digest and size of NAME, so that a restart neither fetches nor reads it again

The server finds its model by the suffix `.onnx`, so none of the others can be taken for one.
"""

import contextlib
import errno
import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mooring_runtime.errors import DownloadFailed

_CHUNK = 1024 * 1024


class Store:
    """One file called `name` in `directory`."""

    def __init__(self, directory: Path, name: str) -> None:
        self.directory = directory
        self.file = directory / name
        self._partial = directory / f"{name}.partial"
        self._origin = directory / f"{name}.partial.json"
        self._complete = directory / f"{name}.complete"

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other fetchers away from the directory while we work in it. Raises DownloadFailed if we may not."""
        try:
            self.directory.mkdir(parents=True, exist_ok=True)
            handle = os.open(self.directory / ".lock", os.O_CREAT | os.O_RDWR, 0o660)
        except OSError as error:
            raise DownloadFailed(f"cannot write to {self.directory}: {error.strerror}") from error
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield
        finally:
            os.close(handle)

    def is_complete(self, sha256: str) -> bool:
        """Whether the file with this digest is here. One without a marker is read once and then marked."""
        if not self.file.is_file():
            return False
        size = self.file.stat().st_size
        if _read_json(self._complete) == {"sha256": sha256, "size": size}:
            return True
        with self.file.open("rb") as stream:
            found = hashlib.file_digest(stream, "sha256").hexdigest()
        if found == sha256:
            self._mark(sha256, size)
        return found == sha256

    def partial(self) -> "Partial":
        """The bytes so far, ready for more."""
        return Partial(self._partial, self._origin)

    def accept(self, partial: "Partial", sha256: str) -> None:
        """Make the partial bytes, whose digest is right, the file: durable first, then visible."""
        partial.close(durable=True)
        self._complete.unlink(missing_ok=True)
        self._partial.rename(self.file)
        self._origin.unlink(missing_ok=True)
        self._mark(sha256, self.file.stat().st_size)

    def _mark(self, sha256: str, size: int) -> None:
        """The marker appears whole or not at all, and never before the file is durable under its name."""
        _sync_directory(self.directory)
        draft = self._complete.with_suffix(".complete-draft")
        draft.write_text(json.dumps({"sha256": sha256, "size": size}))
        draft.rename(self._complete)
        _sync_directory(self.directory)

    def free(self) -> int:
        """Bytes that may still be written."""
        return shutil.disk_usage(self.directory).free


class Partial:
    """The half-fetched file: its size, its running digest, and the validator of the answer it is from."""

    def __init__(self, file: Path, origin: Path) -> None:
        self._file = file
        self._origin = origin
        self._stream = file.open("ab+")
        self.size = 0
        self.digest = hashlib.sha256()
        self.validator = ""
        stored = _read_json(origin)
        if isinstance(stored, dict) and isinstance(stored.get("validator"), str):
            self.validator = stored["validator"]
        if self.validator:
            self._stream.seek(0)
            while piece := self._stream.read(_CHUNK):
                self.digest.update(piece)
                self.size += len(piece)
        else:
            self.restart("")

    def restart(self, validator: str) -> None:
        """Throw the bytes away: what follows is the beginning of the answer with this validator."""
        self._stream.seek(0)
        self._stream.truncate(0)
        self.size = 0
        self.digest = hashlib.sha256()
        self.validator = validator
        self._origin.write_text(json.dumps({"validator": validator}))

    def write(self, piece: bytes) -> None:
        """Add bytes. On a full volume what is there is thrown away: it would only be in the way of everything else."""
        try:
            self._stream.write(piece)
            self._stream.flush()
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                self.discard()
            raise
        self.digest.update(piece)
        self.size += len(piece)

    def discard(self) -> None:
        """Remove the bytes."""
        self.close()
        self._file.unlink(missing_ok=True)
        self._origin.unlink(missing_ok=True)

    def close(self, *, durable: bool = False) -> None:
        """Let go of the file; `durable`: after its bytes are on the disk."""
        with contextlib.suppress(ValueError, OSError):
            self._stream.flush()
        if durable:
            os.fsync(self._stream.fileno())
        with contextlib.suppress(OSError):
            self._stream.close()


def _read_json(file: Path) -> Any:
    try:
        return json.loads(file.read_text())
    except (OSError, ValueError):
        return None


def _sync_directory(directory: Path) -> None:
    handle = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
