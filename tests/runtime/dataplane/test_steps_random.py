"""Clients that hang up, time out and ask again, over a store that fails, fills up, waits and crashes: every step is
applied once, in order, and no session is left busy.
"""

import asyncio
import random

import numpy as np
import pytest

from mooring_runtime.errors import RequestError
from mooring_runtime.messages import InferRequest, SessionCall, Tensor
from mooring_runtime.sessions.budget import Limits
from mooring_runtime.sessions.store import StoreFailed, StoreFull
from tests.support.memory_store import Disk
from tests.support.session_plane import MODEL, Asked, Outcome, SessionPlane, settle, summed, told
from tests.support.session_runs import on_thread

_ONE = (Tensor("x", "FP32", np.ones((1, 1), np.float32)),)
_STEPS = 15
_TRY_AGAIN = {"timeout", "cancelled", "volume-full", "owner-down", "not_ready", "rewound"}


class World:
    """A server and its disk; what is done to them is the seed's."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.limits = Limits(lazy=self.random.random() < 0.5)
        self.budget = self.random.choice([0, 30, 2**20])
        self.disk = Disk()
        self.served = self._server()

    def _server(self, doubt: int = 0) -> SessionPlane:
        served = SessionPlane(self.disk, self.limits, budget=self.budget, doubt=doubt)
        if self.random.random() < 0.5:
            on_thread(served)
            served.adder.gate = None
        return served

    async def client(self, session: str) -> None:
        """Numbered steps, each asked for until it is acknowledged."""
        step = 1
        while step <= _STEPS:
            outcome = await self._ask(SessionCall(session, start=step == 1, step=step))
            if outcome is None:
                continue  # The server has crashed.
            if not isinstance(outcome, RequestError):
                assert (told(outcome).step, summed(outcome)) == (step, step)
                step += 1
            elif self.limits.lazy and outcome.cause in {"gap", "rewound"}:
                step = getattr(outcome, "expected", None) or step
            else:
                assert (outcome.cause in _TRY_AGAIN, outcome.applied) == (True, "no"), outcome

    async def _ask(self, call: SessionCall) -> Outcome | None:
        served, asked = self.served, Asked()
        request = InferRequest(_ONE, session=call, timeout=self.random.choice([None, None, 0.0005, 0.01]))
        asked.ticket = served.plane.infer(MODEL, None, lambda _: request, asked.reply)
        if asked.ticket is not None and self.random.random() < 0.2:
            for _ in range(self.random.randrange(6)):
                await asyncio.sleep(0)
            asked.ticket.cancel()
        while not asked.answers and not served.store.dead:  # noqa: ASYNC110 - a crash tells nobody
            await asyncio.sleep(0)
        if served.store.dead:  # What it still says nobody hears.
            return None
        [outcome] = asked.answers
        return outcome

    async def trouble(self) -> None:
        """Until it is cancelled."""
        while True:
            for _ in range(self.random.randrange(1, 40)):
                await asyncio.sleep(0)
            store = self.served.store
            which = self.random.choice(["fail", "full", "hold", "release", "flush", "calm", "calm", "crash", "reload"])
            if which == "fail":
                store.fail(self.random.choice([StoreFull("full"), StoreFailed("failed")]))
            elif which == "full":
                store.full = True
            elif which == "hold":
                store.hold()
            elif which == "release":
                store.release(1)
            elif which == "flush":
                store.flush()
            elif which == "calm":
                store.full = False
                store.release()
            elif which == "crash":
                store.crash()
                self.served = self._server(2**62 if self.limits.lazy else 0)
            else:
                before = self.served.repository.find(MODEL, None)
                self.served.load(before.version, before.metadata.state)  # type: ignore[arg-type]
                await before.retire()


@pytest.mark.parametrize("seed", range(12))
async def test_whatever_happens_each_step_is_applied_once_and_no_session_is_stuck(seed: int) -> None:
    world = World(seed)
    trouble = asyncio.ensure_future(world.trouble())
    await asyncio.wait_for(asyncio.gather(*(world.client(str(number)) for number in range(8))), 10)
    trouble.cancel()
    store = world.served.store
    store.full = False
    store.release()
    store.flush()
    await settle()
    assert world.served.plane.pending == 0
    assert not any(entry.busy or entry.pending or entry.reading for entry in world.served.table)
