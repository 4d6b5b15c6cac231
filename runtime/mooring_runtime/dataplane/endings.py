"""Tells models' own code that sessions have ended, on a thread: it may block, and nobody waits for it."""

import logging
import threading
from concurrent.futures import ThreadPoolExecutor

from mooring_runtime.dataplane.carriers import fits
from mooring_runtime.repository import Repository
from mooring_runtime.repository.stateful import EndHook
from mooring_runtime.sessions.copies import Kept
from mooring_runtime.sessions.endings import Hook
from mooring_runtime.sessions.keys import Key

log = logging.getLogger(__name__)

MOST_BYTES = 64 * 2**20
"""Of states that wait to be told of: a model that is slower than its sessions end would else fill the memory."""
_EACH = 1024
"""Bytes that one takes beside its state."""


class Endings:
    """Of the models of one server; one call at a time."""

    def __init__(self, repository: Repository) -> None:
        self._repository = repository
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="session-end")
        self._lock = threading.Lock()
        self._waiting = 0
        """Bytes."""
        self._full = False

    def hook(self) -> Hook | None:
        """What the holder is to tell; None while no model wants to know, so that no state is read for it."""
        for entry in self._repository:
            for model in entry.versions.values():
                if model.stateful is not None and model.stateful.session_ended is not None:
                    return self._tell
        return None

    def _tell(self, key: Key, kept: Kept, cause: str) -> None:
        ended = self._of(key.model, kept)
        if ended is None:
            return
        size = _EACH + sum(tensor.array.nbytes for tensor in kept.state)
        with self._lock:
            full = self._waiting > 0 and self._waiting + size > MOST_BYTES
            if not full:
                self._waiting += size
        if full and not self._full:
            log.error("model '%s' is too slow to be told of every session that ends: some it is not", key.model)
        self._full = full
        if not full:
            self._thread.submit(ended, key.session, kept.state, cause).add_done_callback(lambda _: self._told(size))

    def _told(self, size: int) -> None:
        with self._lock:
            self._waiting -= size

    def _of(self, name: str, kept: Kept) -> EndHook | None:
        """Of the highest version that knows what the state means; a session without a step has none."""
        entry = self._repository.get(name)
        if entry is None or not kept.state:
            return None
        for model in reversed(entry.versions.values()):
            ended = None if model.stateful is None else model.stateful.session_ended
            if ended is not None and fits(model, kept.copy.fingerprint):
                return ended
        return None

    def close(self) -> None:
        """Return when the last call has ended."""
        self._thread.shutdown()
