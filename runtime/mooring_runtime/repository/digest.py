"""Checks that a model's file is the one that was asked for."""

import hashlib
from pathlib import Path

from mooring_runtime.errors import DigestMismatch, ModelNotFound


def check_digest(file: Path, expected: str | None) -> None:
    """Read the file once and compare its SHA-256 with `expected`; None checks nothing.

    Raises DigestMismatch with both digests, ModelNotFound when the file cannot be read.
    """
    if expected is None:
        return
    try:
        with file.open("rb") as stream:
            found = hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise ModelNotFound(f"cannot read {file}: {error.strerror}") from error
    if found != expected:
        raise DigestMismatch(f"{file.name} has the SHA-256 digest {found}, but {expected} was asked for")
