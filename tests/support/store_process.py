"""A process that has a store open, for tests that kill it, race it, or let its disk fail.

    python -m tests.support.store_process PATH write SEED [SIZE]   steps of 32 sessions; a line for each that is on disk
    python -m tests.support.store_process PATH hold                says its boot; commits when it reads a line
    python -m tests.support.store_process PATH fill                sessions of 1 MiB until one is refused

A line of `write` is `SESSION STEP`; what the session's state then is follows from the seed. With a SIZE, all that can
go by the journal does, which is folded from so many bytes on. The process ends as the server does: what is fatal goes
to stderr as its reason, and the exit code is the error's.
"""

import asyncio
import hashlib
import os
import sys
from pathlib import Path

import numpy as np
import uvloop

from mooring_runtime.errors import FatalError
from mooring_runtime.messages import Tensor
from mooring_runtime.sessions.copies import State, apart, kept_replies
from mooring_runtime.sessions.journal import JOURNALING, Journaling
from mooring_runtime.sessions.lmdb_store import LmdbStore, StoreOptions, open_store
from mooring_runtime.sessions.store import Change, StoreFailed
from tests.support.stores import Commits, change, noise

WRITERS = 32


def die(error: FatalError) -> None:
    """End at once, as the server does."""
    os.write(2, f"{error.reason}: {error}\n".encode())
    os._exit(error.exit_code)


def payload(seed: int, session: int, step: int) -> State:
    """The state of a session after a step: of a size that differs, and bytes that belong to nothing else."""
    digest = hashlib.blake2b(b"%d %d %d" % (seed, session, step), digest_size=32).digest()
    size = (1, 8, 200, 700)[digest[0] % 4]
    return (Tensor("h", "UINT8", np.frombuffer(digest * size, np.uint8).reshape(1, -1)),)


class Writer:
    """One session: steps until the process is killed."""

    def __init__(self, store: LmdbStore, seed: int, session: int) -> None:
        self._store = store
        self._seed = seed
        self._session = session
        self._made: Change | None = None
        self._step = 0

    def go_on(self, failed: StoreFailed | None = None) -> None:
        """Tell of the last commit, and begin the next."""
        assert failed is None, failed
        if self._step:
            os.write(1, b"%d %d\n" % (self._session, self._step))
        self._step += 1
        made = change(self._step, self._session, tensors=payload(self._seed, self._session, self._step))
        before = self._made
        if before is not None and before.replies and made.replies and before.copy is not None and made.copy is not None:
            replies = kept_replies(before.replies, made.replies[-1])
            stands = apart(made.copy, replies) == apart(before.copy, before.replies)
            made = made._replace(replies=replies, in_place=stands)
        self._made = made
        self._store.commit((made,), self.go_on)


async def main() -> None:
    """See the module."""
    path, mode, *rest = sys.argv[1:]
    journaling = Journaling(leaves=1, size=int(rest[1])) if len(rest) > 1 else JOURNALING
    options = StoreOptions(limit=2**28, journaling=journaling)
    store = await asyncio.to_thread(lambda loop: open_store(Path(path), loop, options, fatal=die), _loop())
    print(f"boot {store.boot} clean {store.clean}", flush=True)
    if mode == "write":
        for session in range(WRITERS):
            Writer(store, int(rest[0]), session).go_on()
        await asyncio.Event().wait()
    commits = Commits(store)
    if mode == "fill":
        for number in range(100):
            failed = await commits.commit(change(1, number, tensors=noise(2**20)))
            print(type(failed).__name__, flush=True)
            if failed is not None:
                break
    number = 0
    while line := await asyncio.to_thread(sys.stdin.readline):
        number += 1
        print(f"{line.strip()} {await commits.commit(change(1, f'{store.boot} {number}'))}", flush=True)
    await asyncio.to_thread(store.close)


def _loop() -> asyncio.AbstractEventLoop:
    return asyncio.get_running_loop()


if __name__ == "__main__":
    uvloop.run(main())
