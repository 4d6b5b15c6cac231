"""The session checker's clients in front of a router: they ask until they are told to stop, then read what there is.

Beside the clients of `tests/faults` there are pulses, each of which steps one session at a steady pace and writes down
when it asked and when it was answered; and twins, who begin the same new session at the same time.

Usage: python -m tests.support.e2e_sessions HOST SEED PULSES FOLDER (one line "asking" when every pulse beats; SIGTERM
ends the asking, sessions are read, and history.jsonl and beats.json are written to FOLDER)
"""

import asyncio
import contextlib
import json
import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from random import Random

from tests.faults import history
from tests.faults.clients import SHARED, Client, World, way
from tests.faults.doors import Door, any_door
from tests.faults.history import Answer, Book, Op, Step

HTTP, GRPC = 80, 8001
READ_SECONDS = 30.0
TWINS = "twins "
"""Ids of sessions that two begin at once have this in front."""
# Two cores are shared with the cluster: clients without a pause would slow the very moves that are watched.
_PAUSE = 0.2
_BEAT = 0.2
_PATIENCE = 2.0
_PLACES = (*range(8), 10, 11)
"""Of all but the twins, see `way`: no volume is full here, so nobody hoards."""


@dataclass(frozen=True)
class Beat:
    """One step of a pulse, from the first time that it was sent until it was answered."""

    session: str
    number: int
    began: float
    """By the machine's monotonic clock, which all processes on it share."""
    done: float
    tries: int
    causes: tuple[str, ...] = ()
    """Of the tries before the last."""


class Paced(Client):
    """A client that takes a breath before each request, until it reads what there is."""

    async def ask(self, step: Step, door: Door | None = None) -> Answer:
        """See `Client`."""
        if not self.world.faultless:
            await asyncio.sleep(_PAUSE)
        return await super().ask(step, door)

    async def twins(self, other: Client) -> None:
        """Begins one new session after another together with the other; exactly one of both may succeed."""
        while not self.world.stopped():
            session = f"{TWINS}{self.another()}"
            both = (self, other)
            steps = [Step(session, self.world.book.word(), 1, start=True) for _ in both]
            answers = await asyncio.gather(*(each.insist(step) for each, step in zip(both, steps, strict=True)))
            for step, answer in zip(steps, answers, strict=True):
                if answer.outcome == "ok":
                    self.sessions[session] = step


@dataclass
class Pulse(Client):
    """A client that steps one session at a steady pace, and loses no time where it is refused."""

    beats: list[Beat] = field(default_factory=list)
    begun: asyncio.Event = field(default_factory=asyncio.Event)
    """It beats, or never will."""
    chooses: bool = True
    """Its session's id, which else a server makes."""
    _told: list[str] = field(default_factory=list)

    async def ask(self, step: Step, door: Door | None = None) -> Answer:
        """See `Client`."""
        book = self.world.book
        sent = book.tick()
        answer = await (door or self.doors[0]).ask(step, _PATIENCE)
        book.ops.append(Op(self.name, step, answer, sent, book.tick(), self.world.faultless))
        self._told.append(answer.cause)
        return answer

    async def rest(self) -> None:
        """See `Client`."""
        await asyncio.sleep(0.02)

    async def run(self) -> None:
        """Goes on until the run stops."""
        try:
            await self._run()
        finally:
            self.begun.set()

    async def _run(self) -> None:
        session, number = self.another(), 0
        while not self.chooses and not number and not self.world.stopped():
            answer = await self.ask(Step("", self.world.book.word(), new=True, start=True))
            if answer.seen is not None:
                session, number = answer.seen.session, answer.seen.step
                self.sessions[session] = Step(session, 0, number)
        while not self.world.stopped():
            number += 1
            step = Step(session, self.world.book.word(), number, start=number == 1)
            self._told.clear()
            began = time.monotonic()
            answer = await self.insist(step)
            if answer.outcome != "ok":
                return
            self.sessions[session] = step
            told = tuple(self._told)
            self.beats.append(Beat(session, number, began, time.monotonic(), len(told), told[:-1]))
            self.begun.set()
            await asyncio.sleep(self.random.uniform(0.5, 1.5) * _BEAT)


def main(arguments: Sequence[str]) -> None:
    host, seed, pulses, folder = arguments
    asyncio.run(_run(host, seed, int(pulses), Path(folder)))


async def _run(host: str, seed: str, count: int, folder: Path) -> None:
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    book = Book()
    world = World(
        book, lambda random: [any_door(random, HTTP, GRPC, host), any_door(random, HTTP, GRPC, host)], stop.is_set
    )
    # Other names than in the run before: its sessions still live.
    first = int(seed, 16) % 10**5 * 1000
    clients = [Paced(world, first + index, Random(f"{seed} client {index}")) for index in range(12)]
    chance = [Random(f"{seed} pulse {index}") for index in range(count)]
    pulses = [Pulse(world, first + 100 + index, each, chooses=index % 2 == 0) for index, each in enumerate(chance)]
    for session in SHARED:
        await clients[0].insist(Step(session, book.word(), start=True))
    async with asyncio.TaskGroup() as group:
        for pulse in pulses:
            group.create_task(pulse.run())
        for pulse in pulses:
            await pulse.begun.wait()
        for place, client in zip(_PLACES, clients, strict=False):
            group.create_task(way(client, place))
        group.create_task(clients[-2].twins(clients[-1]))
        print("asking", flush=True)
    world.faultless = True
    everybody: list[Client] = [*clients, *pulses]
    with contextlib.suppress(TimeoutError):  # The checker tells which sessions were not read.
        async with asyncio.timeout(READ_SECONDS):
            await asyncio.gather(*(client.read() for client in everybody))
    for each in everybody:
        for door in each.doors:
            await door.close()
    history.write(book.ops, folder / "history.jsonl")
    (folder / "beats.json").write_text(json.dumps([asdict(beat) for pulse in pulses for beat in pulse.beats]))


if __name__ == "__main__":
    main(sys.argv[1:])
