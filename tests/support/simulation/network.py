"""A network between simulated replicas: it loses, repeats, delays and reorders what they say, all from one seed.

A message that is sent is on its own: it may arrive after its sender has crashed, twice, or after later ones; whoever
runs at the receiver then handles it. Every message goes through its bytes.
"""

import asyncio
from typing import TYPE_CHECKING

from mooring_runtime.errors import RequestError
from mooring_runtime.errors.sessions import SessionUnavailable
from mooring_runtime.messages import InferResponse
from mooring_runtime.sessions import messages, passing
from mooring_runtime.sessions.handoff import Point
from mooring_runtime.sessions.messages import Answer, Envelope, Message, Take
from mooring_runtime.sessions.passing import Step
from mooring_runtime.sessions.peers import Refused, Reply, Unanswered, Unreachable
from mooring_runtime.sessions.receiving import WrongReceiver

if TYPE_CHECKING:
    from tests.support.simulation.replica import Process
    from tests.support.simulation.world import World


class SimulatedPeers:
    """`Peers` of one process; `sender` None: the operator's."""

    def __init__(self, world: "World", sender: "Process | None") -> None:
        self._world = world
        self._sender = sender

    async def send(self, ordinal: int, envelope: Envelope, message: Message, within: float) -> Answer:
        """See `Peers`."""
        await self._connect(ordinal)
        path = messages.PATHS[type(message)]
        body = messages.encode(message)
        sending = self._world.spawn(self._deliver(ordinal, envelope, path, body))
        if isinstance(message, Take) and self._sender is not None:
            self._sender.reached(Point.SENT, message.sessions[0].key)
        try:
            async with asyncio.timeout(within):
                return messages.decode_answer(path, await asyncio.shield(sending))
        except TimeoutError:
            raise Unanswered("no answer in time") from None

    async def _deliver(self, ordinal: int, envelope: Envelope, path: str, body: bytes) -> bytes:
        world = self._world
        first = world.spawn(self._arrive(ordinal, envelope, path, body, late=False))
        while world.chance(world.faults.repeated):
            world.spawn(self._arrive(ordinal, envelope, path, body, late=True))
        if world.chance(world.faults.lost):
            await asyncio.sleep(1000)
        answer: bytes = await first
        await world.delay()
        if world.chance(world.faults.lost):
            await asyncio.sleep(1000)
        return answer

    async def _arrive(self, ordinal: int, envelope: Envelope, path: str, body: bytes, *, late: bool) -> bytes:
        world = self._world
        await world.delay(late=late)
        process = world.replicas[ordinal].process
        if process is None:
            raise Unanswered("it has gone")
        message = messages.decode(path, body)
        try:
            answer = await process.ask(process.receiver.answer(envelope, message))
        except (WrongReceiver, SessionUnavailable) as error:
            raise Refused(str(error)) from error
        return messages.encode_answer(answer)

    async def pass_on(self, ordinal: int, envelope: Envelope, step: Step) -> Reply:
        """See `Peers`; a client's request is never repeated by the network: TCP sees to that."""
        await self._connect(ordinal)
        sending = self._world.spawn(self._pass(ordinal, envelope, passing.encode_step(step)))
        return await asyncio.shield(sending)

    async def _pass(self, ordinal: int, envelope: Envelope, body: bytes) -> Reply:
        world = self._world
        if world.chance(world.faults.lost):
            await asyncio.sleep(world.random.random())
            raise Unanswered("lost")
        await world.delay()
        process = world.replicas[ordinal].process
        if process is None:
            raise Unanswered("it has gone")
        try:
            if process.receiver.behind(envelope):
                return Reply(process.membership.epoch, None)
        except WrongReceiver as error:
            raise Refused(str(error)) from error
        outcome: InferResponse | RequestError
        try:
            outcome = await process.ask(process.step(passing.decode_step(body), passed_on=True))
        except RequestError as error:
            outcome = error
        epoch, answer = process.membership.epoch, passing.encode_outcome(outcome)
        await world.delay()
        if world.chance(world.faults.lost):
            await asyncio.sleep(world.random.random())
            raise Unanswered("lost")
        return Reply(epoch, passing.decode_outcome(answer))

    async def _connect(self, ordinal: int) -> None:
        if self._sender is not None and not self._sender.alive:
            raise asyncio.CancelledError
        await self._world.delay()
        if self._world.replicas[ordinal].process is None:
            raise Unreachable(f"ordinal {ordinal} is down")
