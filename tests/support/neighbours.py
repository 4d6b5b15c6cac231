"""Replicas that speak to each other directly, in virtual time: what one says is handled at once, or as a test says.

site = Site(2)                       ordinals 0 and 1, without a record
site[0].keep("a", since=1)           a session on its disk, before `start`
site.start(Record(1, 2))             all of them run, and have adopted it
site.deaf.add(1)                     nobody reaches it any more
site.mute.add(1)                     what it answers is lost
"""

import asyncio
from collections.abc import Awaitable, Callable

import numpy as np

from mooring_runtime.errors import RequestError
from mooring_runtime.errors.sessions import SessionUnavailable
from mooring_runtime.messages import InferRequest, InferResponse, SessionCall, Tensor
from mooring_runtime.metrics.sessions import SessionStats
from mooring_runtime.sessions import messages
from mooring_runtime.sessions.copies import Copy, End, Kept, Phase, StoredReply, Target
from mooring_runtime.sessions.finding import Finding
from mooring_runtime.sessions.handoff import Handoff, Point
from mooring_runtime.sessions.keys import Key
from mooring_runtime.sessions.membership import Membership
from mooring_runtime.sessions.messages import Answer, Envelope, Message
from mooring_runtime.sessions.passing import Step
from mooring_runtime.sessions.peers import Refused, Reply, Talk, Unanswered, Unreachable
from mooring_runtime.sessions.placement import place
from mooring_runtime.sessions.receiving import Receiver, WrongReceiver
from mooring_runtime.sessions.record import Record
from mooring_runtime.sessions.table import Table
from tests.support.memory_store import Disk, MemoryStore
from tests.support.simulation.replica import AtOnce

Passing = Callable[[Step], Awaitable[InferResponse]]


class Neighbour:
    """One of them."""

    def __init__(self, site: "Site", ordinal: int) -> None:
        self.site, self.ordinal = site, ordinal
        self.disk = Disk()
        self.unreadable = ""
        self.steps: Passing | None = None
        self.points: list[tuple[Point, str]] = []

    def keep(
        self, session: str, phase: Phase = Phase.HELD, since: int = 1, to: int | None = None, step: int = 3
    ) -> Key:
        """Put a session on its disk."""
        key, tensor = Key("m", session), Tensor("h", "FP32", np.full((1, 2), float(step), np.float32))
        target = None if to is None else Target(to, self.site[to].disk.id)
        copy = Copy(phase, since, 7, step, None, target, "1", "f", 5, 10, tensor.array.nbytes)
        self.disk.kept[key] = Kept(copy, (tensor,), (StoredReply(step, b"d", (tensor,)),))
        if phase is Phase.MOVED:
            self.disk.kept[key] = Kept(Copy(phase, since))
        return key

    def end(self, key: Key) -> None:
        """Let what is on its disk have ended."""
        kept = self.disk.kept[key]
        self.disk.kept[key] = Kept(kept.copy._replace(end=End("ended", 9, kept.copy.step)), (), kept.replies)

    def start(self) -> "Neighbour":
        """Run on its disk."""
        self.store = MemoryStore(self.disk)
        self.stats = SessionStats()
        self.table = Table(self.store, 2**20, self.stats)
        self.table._reader._thread = AtOnce(1)
        self.membership = Membership(self.table, self.ordinal)
        self.talk = Talk(Wire(self.site), self.membership)
        self.finding = Finding(self.membership, self.talk, self.stats)
        self.handoff = Handoff(self.membership, self.table, self.talk, self.finding.newer, self.stats)
        self.handoff.clock = self.now
        self.receiver = Receiver(
            self.membership,
            self.table,
            self.stats,
            lambda *state: self.unreadable or None,
            lambda idle: self.now() - idle,
        )
        self.handoff.reached = self.receiver.reached = lambda point, key: self.points.append((point, key.session))
        self.membership.start()
        self.handoff.start()
        return self

    def now(self) -> int:
        """Milliseconds; the clocks of no two agree."""
        return 1_000_000 * (1 + self.ordinal) + int(asyncio.get_running_loop().time() * 1000)

    def crash(self) -> None:
        """The process is gone."""
        self.store.crash()
        for part in (self.handoff, self.finding, self.talk, self.membership):
            part.close()

    def copy(self, session: str) -> Copy | None:
        """What its disk has."""
        kept = self.disk.kept.get(Key("m", session))
        return None if kept is None else kept.copy

    def phase(self, session: str) -> str:
        """In one word."""
        copy = self.copy(session)
        return "none" if copy is None else copy.phase.name.lower()


class Site:
    """All of them."""

    def __init__(self, count: int) -> None:
        self.deaf: set[int] = set()
        self.mute: set[int] = set()
        self.said: list[tuple[int, Envelope, Message]] = []
        self.passed: list[int] = []
        self._neighbours = [Neighbour(self, ordinal) for ordinal in range(count)]

    def __getitem__(self, ordinal: int) -> Neighbour:
        return self._neighbours[ordinal]

    def start(self, record: Record | None, *ordinals: int) -> None:
        """Run those that are named, or all, under a record that is on their disks."""
        for neighbour in self._neighbours:
            if not ordinals or neighbour.ordinal in ordinals:
                neighbour.disk.record = record
                neighbour.start()

    async def adopt(self, record: Record, *ordinals: int) -> None:
        """Let those that are named, or all, adopt a record."""
        for neighbour in self._neighbours:
            if not ordinals or neighbour.ordinal in ordinals:
                await neighbour.membership.adopt(record)

    def phases(self, session: str) -> list[str]:
        """At every replica."""
        return [neighbour.phase(session) for neighbour in self._neighbours]

    def named(self, size: int, home: int, other: tuple[int, int] = (1, 0)) -> str:
        """A session whose place is `home` under `size`, and that of `other` under its size."""
        found = (f"s{number}" for number in range(10_000))
        return next(
            each
            for each in found
            if place(Key("m", each), size) == home and place(Key("m", each), other[0]) == other[1]
        )

    def end(self) -> None:
        """Let nothing go on."""
        for neighbour in self._neighbours:
            if hasattr(neighbour, "store"):
                neighbour.crash()


class Wire:
    """`Peers`."""

    def __init__(self, site: Site) -> None:
        self._site = site

    async def send(self, ordinal: int, envelope: Envelope, message: Message, within: float) -> Answer:
        """See `Peers`."""
        site = self._site
        if ordinal in site.deaf:
            raise Unreachable("it is deaf")
        path = messages.PATHS[type(message)]
        message = messages.decode(path, messages.encode(message))
        site.said.append((ordinal, envelope, message))
        try:
            async with asyncio.timeout(within):
                answer = await site[ordinal].receiver.answer(envelope, message)
        except TimeoutError:
            raise Unanswered("it hangs") from None
        except (WrongReceiver, SessionUnavailable) as error:
            raise Refused(str(error)) from error
        if ordinal in site.mute:
            raise Unanswered("it is mute")
        return messages.decode_answer(path, messages.encode_answer(answer))

    async def pass_on(self, ordinal: int, envelope: Envelope, step: Step) -> Reply:
        """See `Peers`."""
        site, neighbour = self._site, self._site[ordinal]
        if ordinal in site.deaf:
            raise Unreachable("it is deaf")
        if neighbour.receiver.behind(envelope):
            return Reply(neighbour.membership.epoch, None)
        site.passed.append(ordinal)
        if ordinal in site.mute:
            raise Unanswered("it is mute")
        assert neighbour.steps is not None
        outcome: InferResponse | RequestError
        try:
            outcome = await neighbour.steps(step)
        except RequestError as error:
            outcome = error
        return Reply(neighbour.membership.epoch, outcome)


def request_of(session: str) -> InferRequest:
    """A client's request for the next step of a session."""
    return InferRequest((Tensor("x", "FP32", np.ones((1, 1), np.float32)),), session=SessionCall(session))
