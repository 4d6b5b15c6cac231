"""Runs work in the order in which it came: short runs at once on the event loop, long ones on one worker thread.

The thread takes the next piece itself, without asking the loop in between; onnxruntime releases the interpreter while
it computes, so the loop goes on reading and answering meanwhile.
"""

import asyncio
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from queue import SimpleQueue
from typing import Generic, NamedTuple, Protocol, TypeVar

from mooring_runtime.scheduling.policy import RunTimes

Work = TypeVar("Work")
Result = TypeVar("Result")


class Outcome(NamedTuple, Generic[Result]):
    """How a piece of work ended: with `result`, or with `error`; both None when it was cancelled before it ran."""

    result: Result | None
    error: Exception | None
    waited: float
    """Seconds from submit to the start of the run."""
    ran: float
    """Seconds of the run."""


class Ticket(Protocol):
    """Work that waits."""

    def cancel(self) -> None:
        """Take the work back; its `done` is called at once. Does nothing when it runs already, or has ended."""


class _Piece(Generic[Work, Result]):
    __slots__ = ("_executor", "done", "ended", "size", "started", "submitted", "work")

    def __init__(
        self,
        executor: "Executor[Work, Result]",
        work: Work,
        size: int,
        done: Callable[[Outcome[Result]], None],
        submitted: float,
    ) -> None:
        self._executor = executor
        self.work: Work | None = work
        self.size = size
        self.done = done
        self.submitted = submitted
        self.started = False
        self.ended = False

    def cancel(self) -> None:
        if self.started or self.ended:
            return
        self.ended = True
        self.work = None  # The thread finds nothing to do here; the tensors are freed now, not when their turn comes.
        self._executor.left(self)
        self.done(Outcome(None, None, self._executor.clock() - self.submitted, 0.0))


class Executor(Generic[Work, Result]):
    """One model's queue. Every method is called on the event loop; `run` there or on the thread, never on both at once.

    `times` may come with what a warm-up has measured.
    """

    def __init__(
        self,
        run: Callable[[Work], Result],
        *,
        times: RunTimes | None = None,
        clock: Callable[[], float] = time.perf_counter,
        cpu_clock: Callable[[], float] = time.thread_time,
    ) -> None:
        self._run = run
        self._times = RunTimes() if times is None else times
        self.clock = clock
        self._cpu_clock = cpu_clock
        self._queue: SimpleQueue[_Piece[Work, Result] | None] = SimpleQueue()
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._running = 0
        self.unfinished = 0
        """Pieces handed to the thread and not done: running or waiting."""

    @property
    def load(self) -> tuple[int, int]:
        """(waiting, running): pieces in the queue now, and on the thread now."""
        running = min(self._running, self.unfinished)
        return self.unfinished - running, running

    def submit(self, work: Work, size: int, done: Callable[[Outcome[Result]], None]) -> Ticket | None:
        """Run `work`, whose input has `size` bytes, and call `done` on the loop.

        Returns None when that has already happened, else the ticket to take it back.
        """
        now = self.clock()
        if not self.unfinished and self._times.inline(size):
            done(self._run_here(work, size, now))
            return None
        piece = _Piece(self, work, size, done, now)
        self.unfinished += 1
        if self._thread is None:
            self._start_thread()
        self._queue.put(piece)
        return piece

    def _run_here(self, work: Work, size: int, submitted: float) -> Outcome[Result]:
        try:
            result = self._run(work)
        except Exception as error:
            return Outcome(None, error, 0.0, self.clock() - submitted)
        ran = self.clock() - submitted
        self._times.observe(size, ran, None)
        return Outcome(result, None, 0.0, ran)

    def _start_thread(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._thread = threading.Thread(target=self._work, name="model", daemon=True)
        self._thread.start()

    def _work(self) -> None:
        """The thread: take the next piece, run it, tell the loop; until None comes."""
        assert self._loop is not None
        while (piece := self._queue.get()) is not None:
            work = piece.work
            if work is None:
                continue
            piece.started = True
            self._running = 1
            started, cpu = self.clock(), self._cpu_clock()
            try:
                result, error = self._run(work), None
            except Exception as raised:
                result, error = None, raised
            cpu, ran = self._cpu_clock() - cpu, self.clock() - started
            self._running = 0
            outcome = Outcome(result, error, started - piece.submitted, ran)
            del work, result, error  # Else the thread would hold a large tensor until its next run.
            with suppress(RuntimeError):  # The loop is closed: the server has stopped and nobody waits.
                self._loop.call_soon_threadsafe(self._ran, piece, outcome, cpu)
            del piece, outcome

    def _ran(self, piece: _Piece[Work, Result], outcome: Outcome[Result], cpu: float) -> None:
        """On the loop: a run on the thread has ended."""
        if piece.ended:  # Cancelled in the moment between the thread's look at it and its start.
            return
        piece.ended = True
        self.left(piece)
        if outcome.error is None:
            self._times.observe(piece.size, outcome.ran, cpu)
        piece.done(outcome)

    def left(self, piece: _Piece[Work, Result]) -> None:
        """A piece is no longer waiting or running."""
        self.unfinished -= 1
        piece.work = None

    def close(self) -> None:
        """Let the thread end after what waits; does not wait for it."""
        self._queue.put(None)
