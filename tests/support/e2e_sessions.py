"""The session checker's clients in front of routers: they ask until they are told to stop, then read what there is.

Pulses step one session each at a steady pace, and write down when they asked and when they were answered. The ledger
has the clients of `tests/faults` too, and twins, who begin the same new session at the same time.

Usage: python -m tests.support.e2e_sessions SEED FOLDER SUBJECT HOST PULSES [SUBJECT HOST PULSES]... (one line "asking"
when every pulse beats; SIGTERM ends the asking, sessions are read, and history.jsonl and beats.json are written to
FOLDER/SUBJECT)
"""

import asyncio
import contextlib
import json
import signal
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from random import Random

from tests.faults import history
from tests.faults.clients import SHARED, Client, World, way
from tests.faults.doors import Door, any_door
from tests.faults.history import Answer, Book, Op, Step
from tests.faults.speech import SPEECH
from tests.faults.subject import LEDGER, Subject

SUBJECTS = {each.name: each for each in (LEDGER, SPEECH)}
HTTP, GRPC = 80, 8001
READ_SECONDS = 30.0
TWINS = "twins "
"""Ids of sessions that two begin at once have this in front."""
# Two cores are shared with the cluster: clients without a pause would slow the very moves that are watched.
_PAUSE = 0.2
_BEAT = 0.2
_SOUND_BEAT = 0.3
"""A chunk of sound costs all on its way more than a word."""
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
    pace: float = _BEAT
    """Seconds from an answer to the next step, in the mean."""
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
            await asyncio.sleep(self.random.uniform(0.5, 1.5) * self.pace)


class Crowd:
    """All who ask one service."""

    def __init__(self, subject: Subject, host: str, count: int, seed: str, stopped: Callable[[], bool]) -> None:
        """`count` are the pulses."""
        self.subject = subject
        self._book = book = Book()
        self._world = World(
            book, lambda random: [any_door(random, HTTP, GRPC, host, subject) for _ in range(2)], stopped
        )
        # Other names than in the run before: its sessions still live.
        first = int(seed, 16) % 10**5 * 1000
        # All but pulses ask things that only a ledger's replies can be judged by.
        asking = 12 if subject is LEDGER else 0
        self._clients = [Paced(self._world, first + index, Random(f"{seed} client {index}")) for index in range(asking)]
        chance = [Random(f"{seed} pulse {index}") for index in range(count)]
        pace = _BEAT if subject is LEDGER else _SOUND_BEAT
        self._pulses = [
            Pulse(self._world, first + 100 + index, each, chooses=index % 2 == 0, pace=pace)
            for index, each in enumerate(chance)
        ]

    async def begin(self, group: asyncio.TaskGroup) -> None:
        """Returns when every pulse beats."""
        if self._clients:
            for session in SHARED:
                await self._clients[0].insist(Step(session, self._book.word(), start=True))
        for pulse in self._pulses:
            group.create_task(pulse.run())
        for pulse in self._pulses:
            await pulse.begun.wait()

    def go_on(self, group: asyncio.TaskGroup) -> None:
        """Lets the others ask."""
        for place, client in zip(_PLACES, self._clients, strict=False):
            group.create_task(way(client, place))
        if self._clients:
            group.create_task(self._clients[-2].twins(self._clients[-1]))

    async def read(self) -> None:
        """The last word of every session."""
        self._world.faultless = True
        everybody: list[Client] = [*self._clients, *self._pulses]
        with contextlib.suppress(TimeoutError):  # The checker tells which sessions were not read.
            async with asyncio.timeout(READ_SECONDS):
                await asyncio.gather(*(client.read() for client in everybody))
        for each in everybody:
            for door in each.doors:
                await door.close()

    def write(self, folder: Path) -> None:
        """What they saw."""
        folder.mkdir()
        history.write(self._book.ops, folder / "history.jsonl")
        (folder / "beats.json").write_text(json.dumps([asdict(beat) for pulse in self._pulses for beat in pulse.beats]))


def main(arguments: Sequence[str]) -> None:
    seed, folder, *rest = arguments
    asyncio.run(_run(seed, Path(folder), zip(rest[::3], rest[1::3], rest[2::3], strict=True)))


async def _run(seed: str, folder: Path, services: Iterable[tuple[str, str, str]]) -> None:
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    crowds = [Crowd(SUBJECTS[name], host, int(count), seed, stop.is_set) for name, host, count in services]
    async with asyncio.TaskGroup() as group:
        await asyncio.gather(*(crowd.begin(group) for crowd in crowds))
        for crowd in crowds:
            crowd.go_on(group)
        print("asking", flush=True)
    await asyncio.gather(*(crowd.read() for crowd in crowds))
    for crowd in crowds:
        crowd.write(folder / crowd.subject.name)


if __name__ == "__main__":
    main(sys.argv[1:])
