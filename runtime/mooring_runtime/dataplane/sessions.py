"""What the steps of one server's sessions work on."""

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Protocol

from mooring_runtime.dataplane.large_steps import LargeStep, is_large
from mooring_runtime.dataplane.observer import Observer
from mooring_runtime.dataplane.outcomes import Reply
from mooring_runtime.dataplane.steps import Step
from mooring_runtime.messages import InferRequest, SessionCall
from mooring_runtime.repository import Repository
from mooring_runtime.repository.converter import StateConverter
from mooring_runtime.sessions.copies import Kept, State
from mooring_runtime.sessions.holder import Holder
from mooring_runtime.sessions.trace import Traces


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

    def step(self, name: str, request: InferRequest, call: SessionCall, reply: Reply) -> Step:
        """One step of a session of the model `name`. Raises BadSession for a call that cannot be meant."""
        kind = LargeStep if is_large(request.inputs) else Step
        return kind(self, name, request, call, reply)

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
