"""The thread that writes: takes all that waits, puts it on disk as one commit, says so, and takes what has come since.

There is no timer and no wish for a larger group: while one commit waits for the disk, the next group gathers. One
client alone has its commit at once, and thirty share one (measured: 8 times the commits of one by one). Lazy jobs wait
for the end of the interval, or go with the next that is not lazy; of several for one session only the last is written.

The order of jobs is kept. All that is done within one commit is told to the event loop by one call.
"""

import asyncio
import logging
import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import NamedTuple

from mooring_runtime.sessions.keys import Key
from mooring_runtime.sessions.record import Record
from mooring_runtime.sessions.store import Change, Done, StoreFailed

log = logging.getLogger(__name__)

GROUP_BYTES = 64 * 2**20
"""Bytes of state above which a group takes no more: what a transaction has changed is kept in memory until it ends."""

_TURN = 0.005
"""Seconds in which the loop does nothing else but tell what has become of jobs."""


class Job(NamedTuple):
    """What is to be on disk, all of it or nothing."""

    changes: tuple[Change, ...] = ()
    record: Record | None = None
    aside: tuple[tuple[Key, str], ...] = ()
    """Sessions to set aside, and why."""
    closing: bool = False
    """Say that the end is in order; the last job."""
    done: Done | None = None
    lazy: bool = False


Outcome = list[StoreFailed | None]
"""Of each job of a group."""


class Dead(Exception):  # noqa: N818 - named by what happened, as in `errors`
    """The process ends; nothing more is written, and nobody is told of what was not."""


class Writer:
    """One thread and its queue; `write` is called there with each group, and gives what became of each job."""

    def __init__(
        self,
        write: Callable[[Sequence[Job]], Outcome],
        loop: asyncio.AbstractEventLoop,
        interval: float,
        died: Callable[[BaseException], object] = lambda error: None,
    ) -> None:
        """`died` is called on the thread when it ends by a mistake: whoever waits for a commit would wait for ever."""
        self._write = write
        self._died = died
        self._loop = loop
        self._interval = interval
        self._jobs: queue.SimpleQueue[list[Job]] = queue.SimpleQueue()
        self._left: deque[Job] = deque()
        """Of the thread: those that were taken and are not in a group yet."""
        self._ended: deque[tuple[Done, StoreFailed | None]] = deque()
        """Of the loop: jobs that have ended, of which is still to be told."""
        self._thread = threading.Thread(target=self._live, name="session-writer", daemon=True)
        self._thread.start()

    def submit(self, job: Job) -> None:
        """Let `job` be written; from any thread."""
        self._jobs.put([job])

    def submit_all(self, jobs: list[Job]) -> None:
        """`submit` for many, which then share a commit. One by one the first would be written alone, and the others
        wait for it and then for their own. (What that saves is within what runs of one measurement differ by.)
        """
        self._jobs.put(jobs)

    def wait_for(self, job: Job) -> StoreFailed | None:
        """Let `job` be written, and wait for it, on any thread but the loop's; what became of it."""
        ended = threading.Event()
        outcome: list[StoreFailed | None] = []

        def done(failed: StoreFailed | None) -> None:
            outcome.append(failed)
            ended.set()

        # Not by way of the loop, which may not run yet, or no more.
        self._jobs.put([job._replace(done=_Direct(done))])
        while not ended.wait(0.1):
            if not self._thread.is_alive():
                return StoreFailed("the store has ended")
        return outcome[0]

    def join(self) -> None:
        """Wait for the thread's end, which follows the closing job."""
        self._thread.join()

    # --- the thread

    def _live(self) -> None:
        try:
            closing = False
            while not closing:
                group = self._gather()
                self._finish(group, self._write(group))
                closing = group[-1].closing
        except Dead:
            return
        except BaseException as error:
            log.critical("the thread that writes sessions has ended", exc_info=error)
            self._died(error)

    def _gather(self) -> list[Job]:
        """Wait for the next group: lazy jobs whose interval has ended, or all up to one that is not lazy."""
        group: list[Job] = []
        until = 0.0
        while True:
            try:
                job = self._next(max(0.0, until - time.monotonic()) if group else None)
            except queue.Empty:
                return group
            if not group:
                until = time.monotonic() + self._interval
            group.append(job)
            if not job.lazy:
                break
        size = 0
        # As many as wait now: with those that come meanwhile a busy loop could keep a group open for ever.
        for _ in range(self._jobs.qsize()):
            self._left += self._jobs.get()
        while self._left:
            for change in group[-1].changes:
                size += change.copy.size if change.copy is not None and change.state else 0
            if size > GROUP_BYTES or group[-1].closing:
                break
            group.append(self._left.popleft())
        return group

    def _next(self, seconds: float | None) -> Job:
        """Wait for the next job. Raises queue.Empty when none has come after so many seconds."""
        if not self._left:
            self._left += self._jobs.get(timeout=seconds)
        return self._left.popleft()

    def _finish(self, group: list[Job], outcome: Outcome) -> None:
        told: list[tuple[Done, StoreFailed | None]] = []
        for job, failed in zip(group, outcome, strict=True):
            if isinstance(job.done, _Direct):
                job.done.call(failed)
            elif job.done is not None:
                told.append((job.done, failed))
        if told:
            # The loop may have ended before its store, and then nobody is left to tell.
            with suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self._tell, told)

    # --- on the loop

    def _tell(self, told: list[tuple[Done, StoreFailed | None]]) -> None:
        going = bool(self._ended)
        self._ended.extend(told)
        if not going:
            self._tell_on()

    def _tell_on(self) -> None:
        """Tell of the jobs in their order, for as long as others may wait for the loop. Each may write an answer, and
        when it was asked for thousands at once a group has thousands (measured: 0.4 s for ten thousand).
        """
        until = time.perf_counter() + _TURN
        while self._ended:
            done, failed = self._ended[0]
            try:
                done(failed)
            except Exception:
                # One that raises must not keep the others from being told: their clients would wait for ever.
                log.exception("cannot tell that a commit has ended")
            self._ended.popleft()
            if self._ended and time.perf_counter() > until:
                self._loop.call_soon(self._tell_on)
                return


class _Direct:
    """A `Done` that is called on the writer's thread."""

    def __init__(self, call: Done) -> None:
        self.call = call

    def __call__(self, failed: StoreFailed | None) -> None:
        self.call(failed)


def merged(changes: Sequence[Change]) -> list[Change]:
    """The same changes, with one for each session where a later one says all that an earlier one does. Pure."""
    last: dict[Key, Change] = {}
    for change in changes:
        earlier = last.pop(change.key, None)
        if earlier is None or change.copy is None:
            last[change.key] = change
        elif earlier.copy is None:
            # Deleted, then made anew: what the new one does not say is empty, not what was there before.
            last[change.key] = change._replace(state=change.state or (), replies=change.replies or (), in_place=False)
        else:
            last[change.key] = Change(
                change.key,
                change.copy,
                earlier.state if change.state is None else change.state,
                earlier.replies if change.replies is None else change.replies,
                earlier.in_place and change.in_place,
            )
    return list(last.values())
