"""The store that ships: one LMDB environment on one volume, with one thread that writes (`writer`).

LMDB copies what it changes and then switches a root, so a process or a machine that dies in the middle of a commit
leaves what was there before it, and opening needs no repair. What is in the records and where is told by `records` and
`encoding`, who may open by `fences`, what happens when the disk is full by `room`.

    commit, adopt, barrier   on the event loop: handed to the writer, answered by `done` after a sync
    read                     on the table's thread: a transaction of its own, of which nothing outlives the call
    everything else          blocks, before the server is ready or after it
"""

import asyncio
import errno
import json
import logging
import os
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import lmdb

from mooring_runtime.errors import FatalError, StoreBroken, StoreInvalid, StoreTaken
from mooring_runtime.sessions import records
from mooring_runtime.sessions.copies import Phase
from mooring_runtime.sessions.fences import Lock, check_file_system, file_system
from mooring_runtime.sessions.journal import JOURNALING, Group, Journaling
from mooring_runtime.sessions.keys import Key
from mooring_runtime.sessions.lmdb_reader import BOOT, DOUBT, FILE, FORMAT, WHAT_TO_DO, LmdbReader, open_environment
from mooring_runtime.sessions.record import Record
from mooring_runtime.sessions.room import Room
from mooring_runtime.sessions.store import Change, Corrupt, Done, StoreFailed, StoreFull, Usage
from mooring_runtime.sessions.writer import Dead, Job, Outcome, Writer, merged

log = logging.getLogger(__name__)

_SHARE = 0.9
"""Of the volume, where no limit is set."""
_BYTES_A_CHANGE = 2**17
"""What a change takes beside its state, generously: a reply, leaves, the way to them, and the list of free pages."""
_FREE_AGE = 1.0
"""Seconds that the room on the file system is believed without asking again."""
_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_new = tuple.__new__
"""Makes a named tuple in half the time that its constructor takes."""


@dataclass(frozen=True, kw_only=True)
class StoreOptions:
    """How a store is opened."""

    limit: int | None = None
    """Bytes that sessions may take; None: nine tenths of the volume."""
    interval: float = 0.05
    """Seconds that lazy changes wait."""
    lazy: bool = False
    """Whether there may be lazy changes: a crash may then lose steps whose clients have their answers."""
    observe: Callable[[float, int], None] = lambda seconds, changes: None
    """Called on the writer's thread after each commit, with its seconds and the changes in it."""
    journaling: Journaling = JOURNALING
    """When steps go to the journal."""
    magic: Callable[[Path], int] = file_system
    """Gives the magic number of a file system."""


_OPTIONS = StoreOptions()


def open_store(
    path: Path,
    loop: asyncio.AbstractEventLoop,
    options: StoreOptions = _OPTIONS,
    *,
    fatal: Callable[[FatalError], object],
    give_up: threading.Event | None = None,
) -> "LmdbStore":
    """The store in the directory `path`, which is made if need be. Blocks, for as long as another process has it.

    `fatal` ends the process, on whatever thread it is called. When `give_up` is set the waiting ends by StoreLocked.
    Raises VolumeRefused and StoreInvalid, too.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
        check_file_system(path, options.magic)
    except OSError as error:
        raise StoreInvalid(f"cannot keep sessions in MOORING_SESSION_PATH={path}: {error.strerror}") from error
    lock = Lock(path)
    lock.take(give_up)
    try:
        return LmdbStore(path, lock, loop, options, fatal)
    except BaseException:
        lock.release()
        raise


def read_only(path: Path) -> "LmdbReader":
    """A store that no server has open, to be read and left as it is. Raises StoreLocked and StoreInvalid."""
    if not (path / FILE).exists():
        raise StoreInvalid(f"{path} has no {FILE}: it is no store of sessions")
    lock = Lock(path)
    lock.share()
    try:
        return LmdbReader(path, lock, open_environment(path, 0, readonly=True))
    except BaseException:
        lock.release()
        raise


class LmdbStore(LmdbReader):
    """See `Store`; made by `open_store`."""

    def __init__(
        self,
        path: Path,
        lock: Lock,
        loop: asyncio.AbstractEventLoop,
        options: StoreOptions,
        fatal: Callable[[FatalError], object],
    ) -> None:
        file = path / FILE
        if lock.store is not None and not (file.exists() and file.stat().st_size):
            raise StoreInvalid(
                f"{path} had a store of sessions ({lock.owner()}), and {FILE} is gone or empty. {WHAT_TO_DO}"
            )
        volume = os.statvfs(path)
        limit = options.limit if options.limit is not None else int(volume.f_blocks * volume.f_frsize * _SHARE)
        self.limit = limit = max(limit, 2**20)
        self._size = limit
        """Of the map, as it was asked for."""
        super().__init__(path, lock, open_environment(path, limit), options.journaling)
        self._options = options
        self._fatal = fatal
        self._room = Room(file, limit)
        self._free = (0.0, 0)
        self._leaves = 0
        """Of the sessions' database."""
        self._losses: set[Key] = set()
        """Sessions whose last lazy change has failed: steps are lost whose clients have their answers."""
        self._begin(file)
        self._writer = Writer(self._write, loop, options.interval, self._died)
        self._loop = loop
        self._turn: list[Job] = []
        """What this turn of the loop has for the writer: it gets all of it at once, and writes it as one commit."""
        self._handing = threading.Lock()

    def _begin(self, file: Path) -> None:
        """The first commit of this opening: from it on whoever had the store before us ends."""
        self.boot += 1
        self._own = BOOT.pack(self.boot)
        try:
            # A full volume is opened too: what is there is read, and ends make room.
            self._fit((), self._room.reserve)
            with self._environment.begin(write=True, db=self._databases.meta) as txn:
                txn.put(b"store", json.dumps({"format": FORMAT, "id": self.id}).encode())
                txn.put(b"boot", self._own)
                txn.put(b"clean", b"0")
                if self._was_lazy and not self.clean:
                    # Every session may have lost steps until now. It is for whoever opens the store, however often
                    # that is, to tell each client once.
                    self.doubt = time.time_ns() // 1_000_000
                    txn.put(b"doubt", DOUBT.pack(self.doubt))
                txn.put(b"lazy", b"1" if self._options.lazy else b"0")
                self._used = self._pages(txn)
        except lmdb.Error as error:
            raise StoreBroken(f"cannot write to {file}: {error}") from error
        if self._new:
            # LMDB syncs the file, and not the directory that has its name.
            for directory in (file.parent, file.parent.parent):
                handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
                os.fsync(handle)
                os.close(handle)
        elif self._lock.store not in {None, self.id}:
            log.error("the volume %s had another store before: %s; it is %s now", self.path, self._lock.store, self.id)
        self._lock.sign(self.id, self.boot)

    # --- on the event loop

    def commit(self, changes: Sequence[Change], done: Done, *, lazy: bool = False) -> None:
        """See `Store`."""
        self._submit(_new(Job, (tuple(changes), None, (), False, done, lazy)))

    def adopt(self, record: Record, done: Done) -> None:
        """See `Store`."""
        self._submit(Job(record=record, done=done))

    def barrier(self, done: Done) -> None:
        """See `Store`."""
        self._submit(Job(done=done))

    def _submit(self, job: Job) -> None:
        if not self._turn:
            self._loop.call_soon(self._hand_over)
        self._turn.append(job)

    def _hand_over(self) -> None:
        with self._handing:
            jobs, self._turn = self._turn, []
            if jobs:
                self._writer.submit_all(jobs)

    def usage(self) -> Usage:
        """See `Store`."""
        asked, free = self._free
        now = time.monotonic()
        if asked == 0.0 or now - asked > _FREE_AGE:
            volume = os.statvfs(self.path)
            free = volume.f_bavail * volume.f_frsize
            self._free = (now, free)
        return Usage(self._used * self._page, self.limit, free)

    # --- blocking

    def _set_aside(self, key: Key, why: str) -> None:
        log.error("session '%s' of model '%s' is set aside: %s", key.session, key.model, why)
        super()._set_aside(key, why)
        failed = self._writer.wait_for(Job(aside=((key, why),)))
        if failed is not None:
            # It is found again, by its checksum, as long as it stays where it is.
            log.error("session '%s' of model '%s' stays where it is: %s", key.session, key.model, failed)

    def close(self) -> None:
        """See `Store`."""
        self._hand_over()
        failed = self._writer.wait_for(Job(closing=True))
        if failed is not None:
            log.error("the store of sessions could not be closed in order: %s", failed)
        self._writer.join()
        self._room.close()
        super().close()

    # --- on the writer's thread

    def _write(self, jobs: Sequence[Job]) -> Outcome:
        try:
            self._commit(jobs)
        except StoreFailed as failed:
            # One that is too large must not take its neighbours with it.
            folding = self._journal.folding
            alone = len(jobs) == 1 and not folding
            return [self._alone(jobs[0], failed)] if alone else [self._one(job) for job in jobs]
        return [None] * len(jobs)

    def _one(self, job: Job) -> StoreFailed | None:
        try:
            self._commit([job], fold=False)
        except StoreFailed as failed:
            return self._alone(job, failed)
        return None

    def _alone(self, job: Job, failed: StoreFailed) -> StoreFailed | None:
        """What becomes of a job that has failed by itself: what makes room, or moves away, may use the reserve."""
        if isinstance(failed, StoreFull) and all(_frees(change) for change in job.changes):
            try:
                self._commit([job], spare=self._room.reserve, fold=False)
            except StoreFailed as again:
                failed = again
            else:
                return None
        if job.lazy:
            self._losses.update(change.key for change in job.changes)
        return failed

    def _commit(self, jobs: Sequence[Job], *, spare: int = 0, fold: bool = True) -> None:
        """One transaction with a sync; `fold`: and with a part of the journal, which may be what there is no room for.
        Raises StoreFailed when nothing of it is on disk, and Dead.
        """
        started = time.perf_counter()
        changes = [change for job in jobs for change in job.changes]
        if self._losses:
            # What follows on a lost step was made to stand where that would have stood: what stands there must be
            # looked at, or records of an earlier layout would stay until the session goes.
            changes = [each._replace(in_place=False) if each.key in self._losses else each for each in changes]
        if any(job.lazy for job in jobs):
            changes = merged(changes)
        try:
            self._fit(changes, spare)
            with self._environment.begin(write=True) as txn:
                self._check_boot(txn)
                group = Group(self._journal, txn, self._databases.sessions, self._leaves)
                records.put(txn, self._databases, changes, group)
                for job in jobs:
                    self._put_others(txn, job, group)
                if fold:
                    group.fold(len(changes))
                group.write()
                used = self._pages(txn)
        except lmdb.Error as error:
            raise self._failure(error) from error
        except Dead:
            raise
        except (ValueError, Corrupt) as error:
            raise StoreFailed(str(error)) from error
        except Exception as error:
            # A mistake of ours, before anything was written. A thread that ended by it would leave all clients waiting.
            log.exception("a commit of sessions failed")
            raise StoreFailed(f"{type(error).__name__}: {error}") from error
        group.committed()
        for change in changes:
            if change.copy is None or change.copy.phase is Phase.MOVED:
                self._aside.pop(change.key, None)
            self._losses.discard(change.key)  # Whoever has written it since has told its client, or was ahead of it.
        self._used = used
        self._options.observe(time.perf_counter() - started, len(changes))

    def _check_boot(self, txn: "lmdb.Transaction[bytes]") -> None:
        """Raises Dead when another process has opened the store since."""
        if txn.get(b"boot", db=self._databases.meta) != self._own:
            raise self._end(StoreTaken(f"another process has opened {self.path}: this one no longer writes there"))

    def _put_others(self, txn: "lmdb.Transaction[bytes]", job: Job, group: Group) -> None:
        if job.record is not None:
            txn.put(b"record", job.record.to_json(), db=self._databases.meta)
        for key, why in job.aside:
            records.set_aside(txn, self._databases, key, why, group)
        if job.closing:
            txn.put(b"clean", b"1", db=self._databases.meta)
            for key in self._losses:
                records.rewind(txn, self._databases, key, group)

    def _fit(self, changes: Sequence[Change], spare: int) -> None:
        """Let the map be as large as this commit may make the file."""
        wanted = sum(map(_bytes, changes)) + len(changes) * _BYTES_A_CHANGE
        end = (self._environment.info()["last_pgno"] + 1) * self._page
        size = max(self._room.ceiling(end, wanted), end) + spare
        size -= size % self._page
        if size != self._size:
            with self._map:
                self._environment.set_mapsize(size)
            self._size = size

    def _pages(self, txn: "lmdb.Transaction[bytes]") -> int:
        """Pages with something in them."""
        pages = 2 + (self._journal.size + self._journal.aged) // self._page
        for database in (self._databases.quarantine, self._databases.sessions):
            stat = txn.stat(database)
            self._leaves = stat["leaf_pages"]
            pages += stat["branch_pages"] + stat["leaf_pages"] + stat["overflow_pages"]
        return pages

    def _failure(self, error: lmdb.Error) -> StoreFailed | Dead:
        """What an error of LMDB means: a commit that did not happen, or the end of the process."""
        if isinstance(error, lmdb.MapFullError) or error.code in _NO_ROOM:
            used, limit, free = self.usage()
            return StoreFull(
                f"there is no room on the volume of sessions: they have {used} of {limit} bytes there, and {free} are "
                "left on the disk"
            )
        if isinstance(error, lmdb.BadValsizeError | lmdb.TxnFullError | lmdb.MemoryError):
            return StoreFailed(f"cannot be stored: {error}")
        # After an error of the device nobody knows what is on disk, and a second sync may call good what is lost.
        return self._end(
            StoreBroken(f"a commit to {self.path} failed: {error}; the process ends, to read what is there")
        )

    def _died(self, error: BaseException) -> None:
        self._end(StoreBroken(f"nothing is written to {self.path} any more: {type(error).__name__}: {error}"))

    def _end(self, error: FatalError) -> Dead:
        self._fatal(error)
        return Dead()


def _frees(change: Change) -> bool:
    """Whether it makes room, or takes none worth telling."""
    copy = change.copy
    ended = copy is None or copy.phase is not Phase.HELD or copy.end is not None
    return not change.state and (ended or (change.state is None and change.replies is None))


def _bytes(change: Change) -> int:
    """About what the state of a change takes."""
    return 0 if change.copy is None or not change.state else change.copy.size
