"""Stops a server at a point of a handoff, so that a test can kill it there, or the one that it speaks to.

Python imports this by its name where the folder is on PYTHONPATH; the product knows nothing of it. STOP_AT names a
folder: a file `ORDINAL.POINT` in it stops the replica when it gets there, and is renamed to `reached`. A handoff is at
SENT, which no side tells, when the receiver has got the sessions and has done nothing yet.
"""

import os
import signal
import sys
from pathlib import Path

from mooring_runtime.sessions.encoding import Packed
from mooring_runtime.sessions.handoff import Handoff, Point
from mooring_runtime.sessions.keys import Key
from mooring_runtime.sessions.messages import Envelope, Verdict
from mooring_runtime.sessions.receiving import Receiver


def install(folder: Path, ordinal: str) -> None:
    """Let this process stop where it is asked to."""

    def reached(point: Point, key: Key) -> None:
        asked = folder / f"{ordinal}.{point.name}"
        if asked.exists():
            asked.rename(folder / "reached")
            os.kill(os.getpid(), signal.SIGSTOP)

    for side in (Handoff, Receiver):
        # Each sets it in its constructor, to what does nothing.
        side.reached = property(lambda self: reached, lambda self, value: None)  # type: ignore[assignment]
    hand = Receiver._hand

    async def got(self: Receiver, envelope: Envelope, handed: Packed, proved: int) -> Verdict:
        reached(Point.SENT, handed.key)
        return await hand(self, envelope, handed, proved)

    Receiver._hand = got  # type: ignore[method-assign]


if "STOP_AT" in os.environ and "serve" in sys.orig_argv:
    install(Path(os.environ["STOP_AT"]), os.environ["MOORING_ORDINAL"])
