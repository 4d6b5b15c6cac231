"""What tests of a holder take for the other replicas, and how they have sessions move."""

import asyncio
from collections.abc import Callable

import numpy as np

from mooring_runtime.errors import RequestError
from mooring_runtime.messages import InferResponse, SessionCall, Tensor
from mooring_runtime.sessions.copies import Copy, Kept, Phase, Target
from mooring_runtime.sessions.elsewhere import At, Passed
from mooring_runtime.sessions.keys import Key
from mooring_runtime.sessions.placement import place
from mooring_runtime.sessions.record import Record
from tests.support.memory_store import Disk
from tests.support.session_plane import MODEL, Asked, SessionPlane

HERE, THERE, THIRD = 0, 1, 2
GROWN = Record(5, 3, (2,))
"""From two members to three, and not settled."""


def named(ordinal: int, size: int = 3, more: int = 0) -> str:
    """A chosen id whose place is this ordinal; another one for each `more`."""
    return [name for name in map(str, range(100)) if place(Key(MODEL, name), size) == ordinal][more]


class Others:
    """The other replicas, as the test has them."""

    ordinal = HERE

    def __init__(self, record: Record = GROWN) -> None:
        self.now = record
        self.found: At | None = None
        self.asked: list[str] = []
        self.passed: list[tuple[int, Passed]] = []
        self.refusal: RequestError | None = None
        self.on_ask: Callable[[], object] = lambda: None
        self.on_pass: Callable[[int, Passed], InferResponse] = lambda ordinal, passed: InferResponse(
            "m", str(ordinal), (Tensor("sum", "FP32", np.full((1, 1), 100.0, np.float32)),)
        )

    def record(self) -> Record:
        if self.refusal is not None:
            raise self.refusal
        return self.now

    async def absent(self, key: Key) -> At | None:
        self.asked.append(key.session)
        await asyncio.sleep(0)
        self.on_ask()
        return self.found

    async def pass_on(self, ordinal: int, passed: Passed) -> InferResponse:
        self.passed.append((ordinal, passed))
        await asyncio.sleep(0)
        return self.on_pass(ordinal, passed)


def member(others: Others | None = None, disk: Disk | None = None) -> tuple[SessionPlane, Others]:
    others = others or Others()
    return SessionPlane(disk, elsewhere=others), others


def passed(served: SessionPlane, call: SessionCall) -> Asked:
    return served.begin(call, passed_on=True)


async def freeze(served: SessionPlane, session: str) -> None:
    """Point 2 of a handoff."""
    async with served.table.turn(served.key(session)) as entry:
        assert entry.copy is not None
        moving = entry.copy._replace(phase=Phase.MOVING, to=Target(THERE, "store"))
        await served.table.write_all([(entry, Kept(moving, entry.state, entry.replies))], new_state=False)


async def thaw(served: SessionPlane, session: str, phase: Phase = Phase.HELD) -> None:
    async with served.table.turn(served.key(session)) as entry:
        assert entry.copy is not None
        copy = Copy(Phase.MOVED, 1) if phase is Phase.MOVED else entry.copy._replace(phase=phase, to=None)
        await served.table.write_all([(entry, Kept(copy, entry.state, entry.replies))])
