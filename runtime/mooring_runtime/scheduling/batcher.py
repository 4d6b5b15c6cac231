"""The worker around the policy: one model's queue, and its runs on the event loop or on one thread.

Short runs happen on the loop: what one turn of the loop has delivered is one batch, without a timer, so that a single
client waits for nobody. Longer runs happen on a thread, so that the loop goes on reading and answering; the next batch
forms meanwhile, and is handed over before the answers of the last are written, unless `policy` says that their
clients are worth waiting for.
"""

import asyncio
import logging
import math
import threading
import time
from collections.abc import Callable, Hashable
from contextlib import suppress
from queue import SimpleQueue
from typing import Any, Protocol

from mooring_runtime.errors import Cancelled, InferenceFailed, QueueTimeout, Unavailable
from mooring_runtime.messages import Array, ModelMetadata
from mooring_runtime.metrics import ModelStats
from mooring_runtime.scheduling.capacity import Measured
from mooring_runtime.scheduling.curve import RunTimes
from mooring_runtime.scheduling.jobs import ALONE, Batching, Handle, Job
from mooring_runtime.scheduling.lanes import Lanes
from mooring_runtime.scheduling.policy import Returns, padded, patience
from mooring_runtime.scheduling.runs import Batch, NotPerSample, Runner, execute, repeat, run, stream

log = logging.getLogger(__name__)

_TURN = 0.001
"""Seconds of runs on the loop after which other connections, the probes among them, get their turn."""
_SHORTEST_TIMER = 0.0005
"""Seconds below which a wait is spent asking the loop again and again: its timers count whole milliseconds."""

_AHEAD = 16
"""Answers of a stream that the model may be ahead of the loop: one that makes them faster than they can be sent would
else fill the memory, and each turn of the loop would take longer than the last (measured: seconds for a probe)."""


class Loop(Protocol):
    """What a batcher needs of the event loop."""

    def call_soon(self, callback: Callable[..., object], *args: Any) -> Any:
        """Call after what is due now."""

    def call_later(self, delay: float, callback: Callable[..., object], *args: Any) -> Handle:
        """Call after `delay` seconds."""

    def call_soon_threadsafe(self, callback: Callable[..., object], *args: Any) -> Any:
        """`call_soon` from another thread."""


class Batcher:
    """One model's queue. Every method is called on the event loop."""

    def __init__(
        self,
        runner: Runner,
        metadata: ModelMetadata,
        stats: ModelStats,
        *,
        batching: Batching = Batching(),  # noqa: B008 - immutable
        times: RunTimes | None = None,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        """`metadata` says how many samples a run takes at most; `times` may come with what a warm-up has measured."""
        self.metadata = metadata
        self.clock = clock
        self.loop: Loop | None = None
        """Where everything happens; the one that runs when the first job comes, unless it is set before."""
        self._runner = runner
        self._stats = stats
        self._preferred = tuple(sorted(size for size in batching.preferred_sizes if size <= metadata.max_batch))
        self._max_delay = math.inf if batching.max_delay is None else batching.max_delay
        self._times = RunTimes() if times is None else times
        self._returns = Returns()
        self._hope = 0.0
        """Until when the clients answered last are waited for."""
        self._like: Hashable = ALONE
        """Of the jobs answered last."""
        self._rows = 1.0
        """Samples of a request, on average of the jobs answered last."""
        self._lanes = Lanes(max(metadata.max_batch, 1))
        self._running: Batch | None = None
        self._due = False
        """A turn of this batcher is due on the loop."""
        self._timer: Handle | None = None
        self._timers = 0
        """Jobs that wait with a deadline."""
        self._apart = False
        """The last batch was for the thread."""
        self._thread: threading.Thread | None = None
        self._tasks: SimpleQueue[Batch | None] = SimpleQueue()
        self._closed: Callable[[], object] | None = None
        stats.load = self.load
        stats.age = self.age
        self.capacity = Measured(self._times.curve, self._lanes, self._max_delay, stats)
        stats.capacity = self.capacity.told

    # --- numbers

    def load(self) -> tuple[int, int]:
        """(jobs that wait, jobs that run)."""
        return self._lanes.count, 0 if self._running is None else len(self._running.jobs)

    def age(self) -> float:
        """Seconds that the job which waits longest has waited."""
        oldest = self._lanes.oldest()
        return 0.0 if oldest is None else max(0.0, self.clock() - oldest)

    def busy(self) -> float:
        """Seconds of the run on the thread since it began or gave its last answer, 0 when there is none: one that never
        ends shows here."""
        return 0.0 if self._running is None else self.clock() - self._running.launched

    # --- in and out

    def submit(self, job: Job) -> None:
        """Run `job` in its turn, then tell it."""
        loop = self.loop
        if loop is None:
            loop = self.loop = asyncio.get_running_loop()
        job.batcher = self
        self._lanes.push(job)
        if job.deadline != math.inf:
            job.timer = loop.call_later(max(0.0, job.deadline - self.clock()), self._expire, job)
            self._timers += 1
        if self._apart:
            self._returns.arrived(job.arrived)
        if not self._due and self._running is None:
            self._due = True
            loop.call_soon(self._turn)

    def take_back(self, job: Job) -> None:
        """End a job, if it waits here."""
        if self._lanes.remove(job):
            self._leave(job)
            self._fail(job, None)

    def close(self, closed: Callable[[], object] = lambda: None) -> None:
        """Let the thread end after what waits, and call `closed` then. No job may come any more."""
        self._closed = closed
        self._close_when_idle()

    def _close_when_idle(self) -> None:
        if self._closed is not None and self._running is None and not self._lanes.count:
            closed, self._closed = self._closed, None
            self._tasks.put(None)
            closed()

    def _leave(self, job: Job) -> None:
        """A job no longer waits."""
        if job.timer is not None:
            job.timer.cancel()
            job.timer = None
            self._timers -= 1

    def _expire(self, job: Job) -> None:
        """A deadline has passed."""
        if self._lanes.remove(job):
            self._late(job)

    def _late(self, job: Job) -> None:
        self._leave(job)
        waited = self.clock() - job.arrived
        told = QueueTimeout(f"the request waited {waited:.3g} s and its timeout passed before the model was free")
        self._fail(job, told)

    def _fail(self, job: Job, error: Exception | None) -> None:
        """Tell a job that it gets no answer, or no further one."""
        try:
            job.fail(error)
        except Exception:  # A fault of one front end must not keep the others' answers, nor stop the turn.
            log.exception("cannot tell a client of model '%s' that its request has failed", self.metadata.name)

    # --- choosing

    def _turn(self) -> None:
        """Run what waits, or hand it to the thread, or go on waiting."""
        self._due = False
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        lanes = self._lanes
        now = self.clock()
        until = now + _TURN
        while lanes.count and self._running is None:
            batch = self._next(now)
            if batch is None:
                break
            if batch.apart:
                self._launch(batch)
                continue
            self._run_here(batch)
            if lanes.count:
                now = self.clock()
                if now > until:
                    self._again()
                    break
        if self._closed is not None:
            self._close_when_idle()

    def _again(self) -> None:
        if not self._due:
            assert self.loop is not None
            self._due = True
            self.loop.call_soon(self._turn)

    def _next(self, now: float) -> Batch | None:
        """Take the next batch; None when it is to wait, or when all that waited came too late."""
        if self._apart and self._wait(now):
            return None
        while self._lanes.count:
            jobs, late = self._lanes.take(now)
            if self._timers:  # First of all: who hears that it is late may take back others, these too.
                for job in (*jobs, *late):
                    self._leave(job)
            for job in late:
                self._late(job)
            if not jobs:
                continue
            batch = Batch(jobs)
            if self._preferred and jobs[0].like is not ALONE:
                batch.padded = padded(batch.rows, self._preferred)
            batch.apart = jobs[0].streamed or not self._times.inline(batch.size)
            self._apart = batch.apart
            return batch
        return None

    def _wait(self, now: float) -> bool:
        """Whether to wait for clients that are expected back; if so, a turn will be due in time."""
        returns, running = self._returns, self._running
        missing = returns.missing if running is None else returns.of(len(running.jobs))
        if missing <= 0:
            return False
        like, rows = self._lanes.lead()
        if like is ALONE or like != (self._like if running is None else running.jobs[0].like):
            return False
        longest = min(self._times.curve.fixed, self._max_delay)
        seconds = patience(rows, round(missing * self._rows), self._lanes.most, longest)
        if running is None:
            seconds = min(seconds, self._hope - now)
        if seconds <= 0:
            return False
        if seconds < _SHORTEST_TIMER:
            self._again()
        else:
            assert self.loop is not None
            self._timer = self.loop.call_later(seconds, self._turn)
        return True

    # --- running

    def _run_here(self, batch: Batch) -> None:
        run(self._runner, batch, self.clock)
        if batch.error is None:
            self._times.observe(batch.size, batch.run.infer, None, batch.padded)
            self._deliver(batch)
            return
        self._learn(batch, None)
        for each in repeat(self._runner, batch, self.clock):
            self._deliver(each)

    def _launch(self, batch: Batch) -> None:
        if self._thread is None:
            thread = threading.Thread(target=self._work, name="model", daemon=True)
            try:
                thread.start()
            except RuntimeError as error:  # The next batch tries again: it may be over by then.
                batch.error = Unavailable(
                    f"model '{self.metadata.name}' cannot run: {error}; raise the container's limit of processes (pids)"
                )
                log.error("%s", batch.error)
                self._deliver(batch)
                return
            self._thread = thread
        self._running = batch
        batch.launched = self.clock()
        self._tasks.put(batch)

    def _work(self) -> None:
        """The thread: take a batch, run it, tell the loop; until None comes."""
        assert self.loop is not None
        while (batch := self._tasks.get()) is not None:
            cpu = time.thread_time()
            if batch.jobs[0].streamed:
                self._stream(batch)
                done = [batch]
            else:
                done = execute(self._runner, batch, self.clock)
            cpu = time.thread_time() - cpu
            with suppress(RuntimeError):  # The loop is closed: the server has stopped and nobody waits.
                self.loop.call_soon_threadsafe(self._finished, batch, done, cpu)
            del batch, done  # Else the thread would hold large tensors until its next run.

    def _stream(self, batch: Batch) -> None:
        """On the thread: the model gives its answers one by one."""
        assert self.loop is not None
        [job] = batch.jobs
        if self.metadata.decoupled:
            soon = self.loop.call_soon_threadsafe
            ahead = threading.Semaphore(_AHEAD)

            def give(answer: list[Array]) -> None:
                batch.launched = self.clock()  # A stream that goes on does not hang, however long it is.
                ahead.acquire()
                soon(deliver, answer)

            def deliver(answer: list[Array]) -> None:
                ahead.release()
                if job.cancelled:
                    return
                try:
                    job.part(answer)
                except Exception as error:  # Without this answer the others are not what the model gave.
                    batch.error = self._unwritten(error)
                    job.cancelled = True

            stream(self._runner, batch, self.clock, give)
            batch.results = [[]]
            if job.cancelled and batch.error is None:
                batch.error = Cancelled("the client hung up before all answers were given")
        else:
            answers: list[list[Array]] = []
            stream(self._runner, batch, self.clock, answers.append)
            batch.results, count = answers, len(answers)
            if batch.error is None and count != 1:
                batch.error = InferenceFailed(f"the model gave {count} answers to one request and must give one")

    def _finished(self, batch: Batch, done: list[Batch], cpu: float) -> None:
        """On the loop: a run on the thread has ended."""
        begun = self.clock()
        self._learn(batch, cpu)
        self._rows = batch.rows / len(batch.jobs)
        following = self._next(begun) if self._lanes.count else None
        self._running = None
        self._like = batch.jobs[0].like
        if following is not None and following.apart:
            self._launch(following)
        for each in done:
            self._deliver(each)
        now = self.clock()
        # What the loop has to do for these clients before they can be back, writing and reading, is no idle time.
        window = self._times.curve.fixed + 2 * (now - begun)
        self._returns.answered(len(batch.jobs), begun, now, window)
        self._hope = now + min(window, self._max_delay)
        if following is not None and not following.apart:
            self._run_here(following)
        if self._timer is None and self._idle() and self._lanes.count:
            self._again()
        self._close_when_idle()

    def _idle(self) -> bool:
        """Whether the thread has nothing to do."""
        return self._running is None

    def _learn(self, batch: Batch, cpu: float | None) -> None:
        if batch.error is None:
            self._times.observe(batch.size, batch.run.infer, cpu, batch.padded)
        elif isinstance(batch.error, NotPerSample):
            log.warning("model '%s' is not batched from now on: %s", self.metadata.name, batch.error)
            self._lanes.most = 1
            self._preferred = ()

    def _deliver(self, batch: Batch) -> None:
        """Tell the jobs of a run, and count it."""
        measured, jobs = batch.run, batch.jobs
        if batch.error is not None:
            for job in jobs:
                self._fail(job, batch.error)
            return
        if jobs[0].answers_later:  # As all of them or none.
            jobs[0].land_all(jobs, batch.results, measured)
            self._stats.observe_run(batch.rows, len(jobs), *measured[1:])
            return
        failed: list[Job] = []
        for job, results in zip(jobs, batch.results, strict=True):
            try:
                job.land(results, measured)
            except Exception as error:  # A fault of one front end must not keep the others' answers.
                failed.append(job)
                self._fail(job, self._unwritten(error))
        if failed:
            jobs = [job for job in jobs if job not in failed]
        started, gather, infer, scatter = measured
        self._stats.observe_run(batch.rows, len(jobs), gather, infer, scatter)
        if jobs:
            # The loop sends the answers of a turn at its end, so that is when all of them leave.
            self._stats.observe_requests([job.arrived for job in jobs], started, self.clock())

    def _unwritten(self, error: Exception) -> InferenceFailed:
        """What is told in place of an answer that its front end cannot write. To be called where `error` is caught."""
        name = self.metadata.name
        log.exception("cannot give an answer of model '%s'", name)
        return InferenceFailed(f"an answer of model '{name}' cannot be written: {type(error).__name__}: {error}")
