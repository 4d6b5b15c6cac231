"""What tests of the store that ships have in common: opening, changes, and waiting for what becomes of them."""

import asyncio
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from mooring_runtime.errors import FatalError
from mooring_runtime.messages import Tensor
from mooring_runtime.sessions.copies import HERE_BYTES, Copy, Kept, Phase, State, StoredReply
from mooring_runtime.sessions.keys import Key
from mooring_runtime.sessions.lmdb_store import LmdbStore, StoreOptions, open_store
from mooring_runtime.sessions.record import Record
from mooring_runtime.sessions.store import Change, StoreFailed


class Deadly(list[FatalError]):
    """A `fatal` that only remembers."""

    __call__ = list.append


@contextmanager
def opened(
    path: Path, options: StoreOptions | None = None, fatal: Deadly | None = None, *, close: bool = True
) -> Iterator[LmdbStore]:
    """The store in `path`, within a running loop; one that dies on the way is left as it is."""
    deadly = Deadly() if fatal is None else fatal
    store = open_store(path, asyncio.get_running_loop(), options or StoreOptions(limit=2**26), fatal=deadly)
    try:
        yield store
    finally:
        if close:
            store.close()
    assert fatal is not None or not deadly


class Commits:
    """Hands jobs to a store and waits."""

    def __init__(self, store: LmdbStore) -> None:
        self.store = store

    async def commit(self, *changes: Change, lazy: bool = False) -> StoreFailed | None:
        """What became of one commit."""
        return await self.begin(*changes, lazy=lazy)

    def begin(self, *changes: Change, lazy: bool = False) -> "asyncio.Future[StoreFailed | None]":
        """The same, of which one may wait for several."""
        ended: asyncio.Future[StoreFailed | None] = asyncio.get_running_loop().create_future()
        self.store.commit(changes, ended.set_result, lazy=lazy)
        return ended

    async def adopt(self, record: Record) -> StoreFailed | None:
        """What became of a record."""
        ended: asyncio.Future[StoreFailed | None] = asyncio.get_running_loop().create_future()
        self.store.adopt(record, ended.set_result)
        return await ended

    async def barrier(self) -> StoreFailed | None:
        """What became of a barrier."""
        ended: asyncio.Future[StoreFailed | None] = asyncio.get_running_loop().create_future()
        self.store.barrier(ended.set_result)
        return await ended

    async def all(self, changes: Sequence[Change]) -> list[StoreFailed | None]:
        """What became of many commits that were begun together."""
        return list(await asyncio.gather(*(self.begin(change) for change in changes)))


def key(number: int | str = 1) -> Key:
    """The key of a session."""
    return Key("echo", f"session-{number}")


def state(step: int, floats: int = 4) -> State:
    """A state that tells its step."""
    return (Tensor("h", "FP32", np.full((1, floats), step, "<f4")),)


def noise(nbytes: int) -> State:
    """A state of random bytes."""
    return (Tensor("h", "UINT8", np.frombuffer(os.urandom(nbytes), np.uint8).reshape(1, nbytes)),)


def reply(step: int) -> StoredReply:
    """The reply to a step, that tells which."""
    return StoredReply(step, b"%16d" % step, (Tensor("y", "INT64", np.array([[step]], "<i8")),))


def large_replies(step: int) -> tuple[StoredReply, ...]:
    """The replies of a session at `step`, each in a record of its own."""
    outputs = noise(HERE_BYTES)
    return tuple(StoredReply(each, b"%16d" % each, outputs) for each in range(max(1, step - 3), step + 1))


def change(step: int, number: int | str = 1, *, tensors: State | None = None, incarnation: int = 7) -> Change:
    """A session at `step`, with all its replies."""
    made = state(step) if tensors is None else tensors
    size = sum(tensor.array.nbytes for tensor in made)
    copy = Copy(Phase.HELD, 1, incarnation, step, version="1", fingerprint="f" * 32, created=5, last_used=6, size=size)
    return Change(key(number), copy, made, tuple(reply(each) for each in range(max(1, step - 3), step + 1)))


def shown(kept: Kept) -> tuple[Copy, list[object], list[tuple[int, list[object]]]]:
    """What is kept, in a form that can be compared; without the digest, which only a file gives."""
    return (
        kept.copy._replace(digest=b""),
        [(tensor.name, tensor.datatype, tensor.array.tolist()) for tensor in kept.state],
        [(each.step, [tensor.array.tolist() for tensor in each.outputs]) for each in kept.replies],
    )


def kept(made: Change) -> Kept:
    """What a change that says everything leaves."""
    assert made.copy is not None
    return Kept(made.copy, made.state or (), made.replies or ())
