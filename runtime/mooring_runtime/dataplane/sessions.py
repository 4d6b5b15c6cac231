"""What the steps of one server's sessions work on."""

from concurrent.futures import ThreadPoolExecutor
from typing import Protocol

from mooring_runtime.dataplane.observer import Observer
from mooring_runtime.dataplane.outcomes import Reply
from mooring_runtime.dataplane.steps import Step
from mooring_runtime.messages import InferRequest, SessionCall
from mooring_runtime.repository import Repository
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
        self.converting = ThreadPoolExecutor(1, thread_name_prefix="convert-state")

    def step(self, name: str, request: InferRequest, call: SessionCall, reply: Reply) -> Step:
        """One step of a session of the model `name`. Raises BadSession for a call that cannot be meant."""
        return Step(self, name, request, call, reply)

    def close(self) -> None:
        """Every step has ended."""
        self.converting.shutdown()
