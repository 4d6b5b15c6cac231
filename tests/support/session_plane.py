"""A data plane whose model keeps state, over a store in memory: no server, no framework, no disk.

The model `m` adds: its state is a sum and a count of steps, and it answers the sum.
"""

import asyncio
import threading
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from mooring_runtime.backends.arena import Arena
from mooring_runtime.backends.base import Backend, LoadOptions
from mooring_runtime.dataplane import DataPlane
from mooring_runtime.dataplane.check import check
from mooring_runtime.dataplane.endings import Endings
from mooring_runtime.dataplane.sessions import Sessions
from mooring_runtime.errors import InferenceFailed, RequestError
from mooring_runtime.messages import (
    Array,
    InferRequest,
    InferResponse,
    ModelMetadata,
    SessionCall,
    SessionInfo,
    StatePair,
    StateSchema,
    Tensor,
    TensorSpec,
    Traits,
)
from mooring_runtime.metrics import Aims, MetricsPage
from mooring_runtime.repository import Model, Repository
from mooring_runtime.repository.converter import StateConverter
from mooring_runtime.repository.stateful import Stateful
from mooring_runtime.scheduling import Ticket
from mooring_runtime.sessions.budget import Limits
from mooring_runtime.sessions.elsewhere import Alone, Elsewhere
from mooring_runtime.sessions.holder import Holder
from mooring_runtime.sessions.keys import Key
from mooring_runtime.sessions.table import Table
from tests.support.arenas import on_host
from tests.support.memory_store import Disk, MemoryStore

Outcome = InferResponse | RequestError
MODEL = "m"


def schema(width: int = 2, version: str = "") -> StateSchema:
    """Of the sum and the count, and as many zeros as fill `width`."""
    return StateSchema((StatePair("h_in", "h_in", "h_out", "FP32", (1, width)),), version)


class Adder(Backend):
    """Adds `x` to the first element of its state, and one to the second. `gate` holds runs back; NaN makes one fail."""

    pairs = ()
    device = "CPU"
    memory = 0

    def __init__(self, version: str, kept: StateSchema) -> None:
        specs = (TensorSpec("x", "FP32", (-1, 1)),), (TensorSpec("sum", "FP32", (-1, 1)),)
        self.metadata = ModelMetadata(MODEL, version, "adder", *specs, Traits(state=kept))
        self.runs: list[int] = []
        self.gate: threading.Semaphore | None = None
        self.ends: list[tuple[str, list[float], str]] = []

    def infer(self, inputs: Mapping[str, Array], outputs: Sequence[str]) -> list[Array]:
        x, state = inputs["x"], inputs["h_in"].copy()
        self.runs.append(x.shape[0])
        if self.gate is not None:
            assert self.gate.acquire(timeout=1)
        if np.isnan(x).any():
            raise InferenceFailed("not a number")
        state[:, :1] += x
        state[:, 1:2] += 1
        results = {"sum": state[:, :1].copy(), "h_out": state}
        return [results[name] for name in outputs]

    def hold(self, pairs: Sequence[StatePair], most: int, options: LoadOptions) -> Arena | None:
        return on_host(self, pairs, most, options.device_state_bytes)

    def remember(self, session: str, state: Sequence[Tensor], cause: str) -> None:
        """What a Python model would do when a session has ended."""
        self.ends.append((session, state[0].array.ravel().tolist(), cause))


class SessionPlane:
    """One server; open another one over the same `disk` for what comes after a crash."""

    def __init__(
        self,
        disk: Disk | None = None,
        limits: Limits = Limits(),  # noqa: B008 - immutable
        *,
        elsewhere: Elsewhere | None = None,
        budget: int = 2**20,
        now: Callable[[], int] | None = None,
        doubt: int = 0,
        room: int = 0,
    ) -> None:
        """`room`: bytes beside the model in which states stay between steps."""
        self.disk = Disk() if disk is None else disk
        self.store = MemoryStore(self.disk)
        self.table = Table(self.store, budget, doubt=doubt)
        self.holder = Holder(self.table, Alone() if elsewhere is None else elsewhere, limits, now=now)
        self.page = MetricsPage()
        self.repository = Repository()
        self.plane = DataPlane(self.repository, Aims(queue=100_000))
        self.sessions = self.plane.sessions = Sessions(self.plane, self.repository, self.holder)
        self._asked = 0
        self._room = room
        self.adder = self.load("1", schema())

    def load(self, version: str, kept: StateSchema, converter: StateConverter | None = None) -> Adder:
        """Serve a version of the model."""
        adder = Adder(version, kept)
        model = Model(MODEL, self.page.add(MODEL, version), version)
        stateful = Stateful(adder, adder.metadata, converter)
        stateful.keep_there(LoadOptions(MODEL, version, 1, device_state=self._room, sessions=True))
        model.serve(stateful)
        self.repository.add(model)
        return adder

    def watch_ends(self) -> None:
        """Let the model be told of sessions that end."""
        entry = self.repository.entry(MODEL)
        for model in entry.versions.values():
            assert model.stateful is not None
            model.stateful.session_ended = self.adder.remember
        self.holder.hooks = Endings(self.repository).hook

    def begin(
        self,
        call: SessionCall,
        value: float = 1.0,
        *,
        rows: int = 1,
        version: str | None = None,
        passed_on: bool = False,
    ) -> "Asked":
        """Ask for a step."""
        request = InferRequest((Tensor("x", "FP32", np.full((rows, 1), value, np.float32)),), session=call)
        self._asked += 1
        # As front ends give them: most requests are held against the model while they are read.
        quick = self._asked % 2 and rows == 1
        asked = Asked()
        asked.ticket = self.plane.infer(
            MODEL,
            version,
            lambda metadata: check(metadata, request)._replace(session=call) if quick else request,
            asked.reply,
            passed_on=passed_on,
        )
        return asked

    async def step(self, session: str, value: float = 1.0, **call: object) -> Outcome:
        """Ask for a step of a session, and wait for its answer."""
        return await self.begin(SessionCall(session, **call), value).outcome()  # type: ignore[arg-type]

    async def sum(self, session: str, value: float = 1.0, **call: object) -> float:
        """`step`, of which the sum is all that matters. Raises what it answers."""
        return summed(await self.step(session, value, **call))

    def key(self, session: str) -> Key:
        """Of a session of the model."""
        return Key(MODEL, session)


class Asked:
    """A request, and what becomes of it."""

    def __init__(self) -> None:
        self.ticket: Ticket | None = None
        self.answers: list[Outcome] = []
        self._answered = asyncio.Event()

    def reply(self, outcome: Outcome) -> None:
        self.answers.append(outcome)
        self._answered.set()

    async def outcome(self) -> Outcome:
        """The one answer."""
        await asyncio.wait_for(self._answered.wait(), 10)
        [answer] = self.answers
        return answer


def summed(outcome: Outcome) -> float:
    """What the model has answered. Raises what it was refused with."""
    if isinstance(outcome, RequestError):
        raise outcome
    return float(outcome.outputs[0].array[0, 0])


def told(outcome: Outcome) -> SessionInfo:
    """What an answer says of its session. Raises what it was refused with."""
    if isinstance(outcome, RequestError):
        raise outcome
    assert outcome.session is not None
    return outcome.session


def cause(outcome: Outcome) -> tuple[str, str | None]:
    """(the cause of a refusal, whether the step was applied)."""
    assert isinstance(outcome, RequestError), outcome
    return outcome.cause, outcome.applied


async def settle() -> None:
    """Let the loop do all that it can do without anything from outside."""
    for _ in range(20):
        await asyncio.sleep(0)
