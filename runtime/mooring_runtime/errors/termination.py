"""The termination message: one JSON object that the kubelet copies into the pod's status."""

import json
from contextlib import suppress
from pathlib import Path

from mooring_runtime.errors import FatalError

LIMIT = 4096
"""Bytes that the kubelet reads of the file; a longer object would arrive cut, and no longer be JSON."""


def termination_message(error: FatalError) -> str:
    """`{"reason": ..., "message": ...}`, shortened so that the kubelet reads all of it."""
    kept = message = str(error)
    while len(text := json.dumps({"reason": error.reason, "message": message}, ensure_ascii=False).encode()) > LIMIT:
        # Of the text itself, at least one character each time: what is cut must be more than the mark that is added.
        kept = kept[: len(kept) - max(1, (len(text) - LIMIT) // 4)]
        message = f"{kept}…"
    return text.decode()


def leave_termination_message(file: Path, error: FatalError) -> None:
    """Write it where the kubelet looks; the log has the words anyway.

    The kubelet makes the file. Outside a pod there is none, and root must not put one among the devices.
    """
    if file.parent == Path("/dev") and not file.exists():
        return
    with suppress(OSError):
        file.write_text(termination_message(error), encoding="utf-8")
