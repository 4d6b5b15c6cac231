"""The thread that reads sessions whose states are not in memory.

The way to a thread and back costs more than to read a session that the system has in memory, so those that one turn of
the loop wants go together.
"""

import asyncio
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from mooring_runtime.sessions.copies import Kept
from mooring_runtime.sessions.keys import Key

log = logging.getLogger(__name__)

Read = Callable[[Kept | BaseException], None]
"""Called on the event loop with what was read, or with why it could not be."""
_MOST = 16
"""Sessions of one way: each waits for all of them, and one that comes from the disk takes its time."""


class Reader:
    """One thread."""

    def __init__(self, read: Callable[[Key], Kept]) -> None:
        """`read` blocks, and raises."""
        self._read = read
        self._wanted: list[tuple[Key, Read]] = []
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="session-reader")

    def read(self, key: Key, done: Read) -> None:
        """Read a session; on the event loop."""
        if not self._wanted:
            asyncio.get_running_loop().call_soon(self._go)
        self._wanted.append((key, done))
        if len(self._wanted) == _MOST:
            self._go()

    def _go(self) -> None:
        wanted, self._wanted = self._wanted, []
        if not wanted:
            return
        loop = asyncio.get_running_loop()
        try:
            reading = loop.run_in_executor(self._thread, self._all, [key for key, _ in wanted])
        except RuntimeError as closed:
            _tell(wanted, [closed] * len(wanted))
            return
        reading.add_done_callback(lambda read: _tell(wanted, _found(read, len(wanted))))

    def _all(self, keys: list[Key]) -> list[Kept | BaseException]:
        """On the thread."""
        found: list[Kept | BaseException] = []
        for key in keys:
            try:
                found.append(self._read(key))
            except Exception as error:
                found.append(error)
        return found

    def close(self) -> None:
        """Return when what was begun has been read."""
        self._thread.shutdown()


def _found(read: "asyncio.Future[list[Kept | BaseException]]", wanted: int) -> list[Kept | BaseException]:
    try:
        return read.result()
    except (Exception, asyncio.CancelledError) as error:
        return [error] * wanted


def _tell(wanted: list[tuple[Key, Read]], found: list[Kept | BaseException]) -> None:
    for (key, done), outcome in zip(wanted, found, strict=True):
        try:
            done(outcome)
        except Exception:  # One that raises must not keep the others from being told: they would wait for ever.
            log.exception("cannot go on with session '%s' of model '%s', which was read", key.session, key.model)
