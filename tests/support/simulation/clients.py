"""Clients of simulated replicas: each has one session, sends its steps to any replica, and knows what it may hear."""

import asyncio
from typing import TYPE_CHECKING

from mooring_runtime.errors import RequestError
from mooring_runtime.errors.sessions import (
    OutcomeUnknown,
    SessionConflict,
    SessionGone,
    SessionUnavailable,
    UnknownSession,
)
from mooring_runtime.messages import InferResponse, SessionCall
from mooring_runtime.sessions.keys import Key
from mooring_runtime.sessions.peers import PeerFailed, Unanswered, Unreachable
from tests.support.simulation.replica import request

if TYPE_CHECKING:
    from tests.support.simulation.world import World


class Client:
    """Odd ones number their steps; even ones only the first, so that it can be repeated. Every third one ends; every
    fifth one has its id made by the server.
    """

    def __init__(self, world: "World", key: Key, number: int) -> None:
        self._world, self._key = world, key
        self._numbered, self._ends, self._new = number % 2 == 1, number % 3 == 1, number % 5 == 4
        self._step = 0

    def __str__(self) -> str:
        return f"{self._key.session} at {self._step}"

    async def run(self) -> None:
        """All its steps."""
        world, steps = self._world, self._world.scenario.steps
        for step in range(1, steps + 1):
            self._step = step
            await asyncio.sleep(world.random.expovariate(1 / world.scenario.pause))
            numbered = self._numbered or step == 1
            ends = self._ends and step == steps
            new = self._new and step == 1
            call = SessionCall(self._key.session, step == 1, ends, step=step if numbered else None)
            if new:
                call = SessionCall("", new=True)
            elif numbered and not self._ends and world.chance(world.scenario.impatient):
                # Not where the session ends: a start that comes when all is forgotten is one.
                world.spawn(self._send(call, step))
            while not world.violations:
                if await self._send(call, step):
                    break
                await asyncio.sleep(world.random.random() * 0.1)
        if self._ends and self._numbered:
            await self._send(SessionCall(self._key.session, step=steps + 1), steps + 1)

    async def _send(self, call: SessionCall, value: int) -> bool:
        """Whether the client goes on to its next step."""
        judge = self._world.judge
        if call.start:
            judge.started(self._key)
        try:
            response = await self._request(call, value)
        except (OutcomeUnknown, Unanswered):
            return call.step is None and not call.new  # Whose id was lost begins another one.
        except (SessionUnavailable, PeerFailed):
            return False
        except RequestError as error:
            over = value > self._world.scenario.steps and isinstance(error, SessionGone | UnknownSession)
            late = self._key in judge.ended and isinstance(error, SessionGone | UnknownSession)
            # The life that has begun by a late start of its own lacks the steps between.
            last = value >= self._world.scenario.steps
            again = self._key in judge.again and last and isinstance(error, SessionConflict) and error.cause == "gap"
            if not over and not late and not again:
                judge.object(f"{self._key.session}: step {value} of its client is refused: {error!r}")
            return True
        if call.new:
            assert response.session is not None
            self._key = Key("m", response.session.id)
        log = [int(each) for each in response.outputs[0].array.tolist()]
        if not log or log[-1] != value or value > self._world.scenario.steps:
            judge.object(f"{self._key.session}: step {value} is answered with {log}")
        judge.acknowledged(self._key, log, list(range(1, value + 1)) if self._numbered or value == 1 else None)
        return True

    async def _request(self, call: SessionCall, value: int) -> InferResponse:
        world = self._world
        await world.delay()
        process = world.random.choice(list(world.replicas.values())).process
        if process is None:
            raise Unreachable("it is down")
        if world.chance(world.faults.lost):
            raise Unanswered("lost on its way")
        response = await process.ask(process.step(request(call, value)))
        if world.chance(world.faults.lost):
            raise Unanswered("its answer was lost")
        return response
