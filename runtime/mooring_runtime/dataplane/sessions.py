"""What the steps of one server's sessions work on."""

import asyncio
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import groupby
from operator import itemgetter
from typing import Protocol

from mooring_runtime.dataplane.large_steps import LargeStep, is_large
from mooring_runtime.dataplane.observer import Observer
from mooring_runtime.dataplane.outcomes import Reply
from mooring_runtime.dataplane.steps import Step
from mooring_runtime.messages import Fitted, InferRequest, SessionCall
from mooring_runtime.metrics import ModelStats
from mooring_runtime.repository import Repository
from mooring_runtime.repository.converter import StateConverter
from mooring_runtime.scheduling import Run
from mooring_runtime.sessions.copies import Kept, State
from mooring_runtime.sessions.holder import Holder
from mooring_runtime.sessions.trace import Traces

_OF_A_RUN = itemgetter(0, 1)


class Plane(Protocol):
    """What steps need of the data plane."""

    pending: int
    observer: Observer | None

    def clock(self) -> float:
        """Now, in seconds."""


class Sessions:
    """The steps of one server's sessions."""

    def __init__(self, plane: Plane, repository: Repository, holder: Holder, traces: Traces | None = None) -> None:
        self.plane = plane
        self.repository = repository
        self.holder = holder
        self.traces = Traces() if traces is None else traces
        self.apart = ThreadPoolExecutor(1, thread_name_prefix="session-digest")
        """For what takes milliseconds, and is bounded."""
        self._converters: dict[str, ThreadPoolExecutor] = {}
        """A thread for each model: a converter takes as long as it does, and other models' sessions go on meanwhile."""
        self._converts: dict[str, float] = {}
        """Models whose converters run, and since when."""
        self.ran = 0.0
        """When the run ended of which steps were told last."""
        self._run: Run | None = None
        self._now = 0
        self._answers: list[tuple[ModelStats, float, float]] = []
        """Of the steps that this turn of the loop has answered: when their run began, and when they came."""

    def step(self, name: str, request: InferRequest | Fitted, call: SessionCall, reply: Reply) -> Step:
        """One step of a session of the model `name`. Raises BadSession for a call that cannot be meant."""
        kind = LargeStep if is_large(request) else Step
        return kind(self, name, request, call, reply)

    def ended(self, run: Run) -> int:
        """A run has ended, of which there may be many steps; milliseconds since 1970."""
        if self._run is not run:
            self._run = run
            self.ran, self._now = self.plane.clock(), self.holder.now()
        return self._now

    def answered(self, stats: ModelStats, run: Run, arrived: float) -> None:
        """Count a step that was answered, with all others of this turn of the loop: it is at the end of the turn that
        their answers leave.
        """
        if not self._answers:
            asyncio.get_running_loop().call_soon(self._count)
        self._answers.append((stats, run.started, arrived))

    def _count(self) -> None:
        answers, self._answers = self._answers, []
        now = self.plane.clock()
        for (stats, started), those in groupby(answers, key=_OF_A_RUN):
            stats.observe_requests([arrived for _, _, arrived in those], started, now)

    def convert(self, name: str, converter: StateConverter, kept: Kept) -> "Future[State]":
        """Have a converter of the model `name` make a state into one of its version, on a thread, one at a time."""
        thread = self._converters.get(name)
        if thread is None:
            thread = self._converters[name] = ThreadPoolExecutor(1, thread_name_prefix="convert-state")
        return thread.submit(self._convert, name, converter, kept)

    def _convert(self, name: str, converter: StateConverter, kept: Kept) -> State:
        self._converts[name] = self.plane.clock()
        try:
            return converter(kept.state, kept.copy.fingerprint, kept.copy.version)
        finally:
            del self._converts[name]

    def busy(self) -> Iterator[tuple[str, float]]:
        """(model, seconds that its converter has run): one that never ends shows here; the model's others wait."""
        for name, since in list(self._converts.items()):
            yield name, self.plane.clock() - since

    def close(self) -> None:
        """Return when the last conversion has ended; every step has."""
        self.apart.shutdown()
        for thread in self._converters.values():
            thread.shutdown()
