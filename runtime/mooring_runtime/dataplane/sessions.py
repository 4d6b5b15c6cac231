"""What the steps of one server's sessions work on."""

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Protocol

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
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="convert-state")
        self._converts: tuple[str, float] | None = None
        """The model whose converter runs, and since when."""

    def step(self, name: str, request: InferRequest, call: SessionCall, reply: Reply) -> Step:
        """One step of a session of the model `name`. Raises BadSession for a call that cannot be meant."""
        return Step(self, name, request, call, reply)

    def convert(self, name: str, converter: StateConverter, kept: Kept) -> "Future[State]":
        """Have a converter of the model `name` make a state into one of its version, on a thread, one at a time."""
        return self._thread.submit(self._convert, name, converter, kept)

    def _convert(self, name: str, converter: StateConverter, kept: Kept) -> State:
        self._converts = (name, self.plane.clock())
        try:
            return converter(kept.state, kept.copy.fingerprint, kept.copy.version)
        finally:
            self._converts = None

    def busy(self) -> Iterator[tuple[str, float]]:
        """(model, seconds that its converter has run): one that never ends shows here, and all others wait for it."""
        converts = self._converts
        if converts is not None:
            yield converts[0], self.plane.clock() - converts[1]

    def close(self) -> None:
        """Return when the last conversion has ended; every step has."""
        self._thread.shutdown()
