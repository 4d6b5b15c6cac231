"""Steps whose inputs are so large that their digests would hold the event loop: 64 MB take 60 ms.

The digest is found out on a thread, when the step's turn has come: so it overtakes nobody, and holds up its own session
alone.
"""

import asyncio
from concurrent.futures import Future
from typing import Final

from mooring_runtime.dataplane.steps import Step
from mooring_runtime.errors import InferenceFailed
from mooring_runtime.messages import Fitted, InferRequest
from mooring_runtime.sessions import steps
from mooring_runtime.sessions.entries import Entry

LARGE: Final = 2**20
"""Bytes of inputs, of which a millisecond is enough for the digest."""


class LargeStep(Step):
    """See the module."""

    def begin(self, entry: Entry) -> None:
        """Its turn has come."""
        if self._digest is not None or self.cancelled:
            super().begin(entry)
            return
        self.entry = entry
        loop = asyncio.get_running_loop()
        work = self.sessions.apart.submit(steps.digest_of, self._asked().inputs)
        work.add_done_callback(lambda done: loop.call_soon_threadsafe(self._hashed, done))

    def _hashed(self, done: "Future[bytes]") -> None:
        error = done.exception()
        if error is not None:
            self._end(InferenceFailed(f"the inputs of this step have no digest: {type(error).__name__}: {error}"))
            return
        entry, self.entry = self.entry, None
        assert entry is not None
        self._digest = done.result()
        self.begin(entry)


def is_large(request: InferRequest | Fitted) -> bool:
    """Whether its inputs are."""
    arrays = request.feeds.values() if isinstance(request, Fitted) else [array for _, _, array in request.inputs]
    size = 0
    for array in arrays:
        size += array.nbytes
        if array.dtype.hasobject:
            size += sum(map(len, array.ravel().tolist()))
    return size > LARGE
