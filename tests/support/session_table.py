"""Sessions and turns for tests of the table."""

import asyncio
from collections.abc import Callable

import numpy as np

from mooring_runtime.errors import RequestError
from mooring_runtime.messages import Tensor
from mooring_runtime.sessions.copies import Copy, Kept, Phase, StoredReply
from mooring_runtime.sessions.entries import Entry
from mooring_runtime.sessions.keys import Key
from tests.support.memory_store import Disk

KEY = Key("m", "s")


def kept(step: int, size: int = 4, **fields: object) -> Kept:
    """A session after so many steps; its state is the number of the last one."""
    state = (Tensor("h", "FP32", np.full((1, size), step, np.float32)),)
    copy = Copy(Phase.HELD, 1, 7, step, None, None, "1", "f", 10, 10 + step, size * 4)
    return Kept(copy._replace(**fields), state, (StoredReply(step, b"d", ()),))  # type: ignore[arg-type]


def filled(*keys: Key, step: int = 1, size: int = 4) -> Disk:
    disk = Disk()
    disk.kept = {key: kept(step, size) for key in keys}
    return disk


class Held:
    """A turn that ends when the test says so, or at once."""

    needs_state = True

    def __init__(self, then: Callable[[Entry], None] | None = None) -> None:
        self.entry: Entry | None = None
        self.error: RequestError | None = None
        self.begun = asyncio.Event()
        self._then = then

    def begin(self, entry: Entry) -> None:
        self.entry = entry
        self.begun.set()
        if self._then is not None:
            self._then(entry)

    def refuse(self, error: RequestError) -> None:
        self.error = error
