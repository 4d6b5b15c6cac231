"""What clients do. Each has its own ways, chosen by its own random numbers, and writes everything into the book.

A client acts by the rules of the protocol: it repeats a numbered step until it has an answer, it repeats one without a
number only where it was refused, and it does not go on without end in the dark.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from random import Random

from tests.faults.doors import Door
from tests.faults.history import Answer, Book, Op, Step

DARK = 8
"""Requests of a session in a row without an answer, after which a client asks no more: replies show 16 words."""
PATIENCE = (0.01, *(0.3, 1.0, 5.0) * 3)
"""Seconds that a client waits for an answer; it chooses anew each time. The shortest is about what a step takes: some
are applied, and nobody is there to hear of it.
"""
FINAL = {
    *("ended", "exists", "restarted", "gap", "mismatch", "unknown", "maybe-lost"),
    *("bad-session", "bad-step", "reserved-id"),
}
"""Refusals that do not become better by asking again."""
SHARED = ("777", "shared by two")
"""Sessions that two clients step; somebody begins them before `way`."""


@dataclass
class World:
    """What all clients of a run share."""

    book: Book
    doors: Callable[[Random], Sequence[Door]]
    """One way to each replica, for a new client."""
    stopped: Callable[[], bool]
    """Nobody is to begin anything new."""
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    faultless: bool = False
    """All faults are mended: what is asked now is the last reading."""
    lasting: int = 1
    """So many times as long as usual do sessions last: where they come and go, they are on disk sooner."""
    crowded: int = 0
    """So many volumes are full: the time of those who want more of them."""


@dataclass
class Client:
    """One client. Its methods return when the run is to stop."""

    world: World
    index: int
    random: Random
    doors: Sequence[Door] = field(init=False)
    sessions: dict[str, Step] = field(default_factory=dict)
    """Its sessions that live, each with its last step; those that it ended are in `ended`."""
    ended: set[str] = field(default_factory=set)
    _made: int = 0

    @property
    def name(self) -> str:
        """What the book calls it."""
        return f"client {self.index}"

    def __post_init__(self) -> None:
        self.doors = self.world.doors(self.random)

    async def ask(self, step: Step, door: Door | None = None) -> Answer:
        """One request, to any replica."""
        book = self.world.book
        sent = book.tick()
        last = self.world.faultless
        door = door or self.random.choice(self.doors)
        answer = await door.ask(step, PATIENCE[-1] if last else self.random.choice(PATIENCE))
        book.ops.append(Op(self.name, step, answer, sent, book.tick(), last, book.clock()))
        return answer

    async def insist(self, step: Step, door: Door | None = None) -> Answer:
        """A numbered step: again and again until there is an answer that stands, or the run ends."""
        while True:
            answer = await self.ask(step, door)
            # `ended` may leave open whether a step that began the life was applied; that does not get better either.
            if answer.outcome in ("ok", "applied") or answer.cause in FINAL:
                return answer
            if self.world.stopped() and not self.world.faultless:
                return answer
            await self.rest()

    async def rest(self) -> None:
        """A moment between two requests."""
        await self.world.sleep(self.random.choice((0.0, 0.01, 0.05, 0.2)))

    def another(self) -> str:
        """The id of a session that nobody has had: a number, or words."""
        self._made += 1
        if self.random.random() < 0.5:
            return str((self.index + 1) * 10**6 + self._made)
        return f"{self.name}/{self._made} é"

    # --- the ways of clients

    async def numbered(self) -> None:
        """Numbered steps, each repeated until it is answered; sometimes asks what it should not."""
        while not self.world.stopped():
            session, length = self.another(), self.random.randint(5, 120) * self.world.lasting
            number, done = 0, list[Step]()
            while number < length and not self.world.stopped():
                number += 1
                if number > len(done):
                    end = number == length and self.random.random() < 0.7
                    done.append(Step(session, self.world.book.word(), number, start=number == 1, end=end))
                step = done[number - 1]
                answer = await self.insist(step)
                if answer.expected is not None and answer.cause == "gap":
                    number = answer.expected - 1  # Steps were lost, and this client has them still.
                    continue
                if answer.outcome not in ("ok", "applied"):
                    if number > 1 or answer.outcome == "unknown":
                        self.sessions[session] = step
                    break
                self._note(step)
                if self.random.random() < 0.05:
                    await self._mischief(done)

    async def _mischief(self, done: Sequence[Step]) -> None:
        """A repeat of an earlier step, its number with another word, or a number that is too high."""
        word, earlier = self.world.book.word(), self.random.choice(done[-8:])
        gap = Step(earlier.session, word, len(done) + 3)
        await self.ask(self.random.choice((earlier, done[-1], earlier._replace(word=word), gap)))

    async def pipelined(self) -> None:
        """Numbered steps, up to three of them on their way at the same time; the later ones may be told of a gap."""
        lines = [self.doors, *(self.world.doors(self.random) for _ in range(2))]
        session, number, made = self.another(), 0, list[Step]()
        try:
            while not self.world.stopped():
                for each in range(len(made) + 1, number + 4):
                    made.append(Step(session, self.world.book.word(), each, start=each == 1))
                batch = made[number : number + 3]
                asked = [
                    self._through_gaps(step, self.random.choice(line), number + 1)
                    for step, line in zip(batch, lines, strict=True)
                ]
                answers = await asyncio.gather(*asked)
                back = [each.expected for each in answers if each.expected is not None and each.cause == "gap"]
                if back:  # Steps of an earlier batch were lost.
                    number = min(min(back) - 1, number)
                    self.sessions[session] = made[number]
                    continue
                for step, answer in zip(batch, answers, strict=True):
                    if answer.outcome not in ("ok", "applied"):
                        self.sessions[session] = step
                        return
                    self._note(step)
                number += 3
        finally:
            for door in (*lines[1], *lines[2]):
                await door.close()

    async def _through_gaps(self, step: Step, door: Door, first: int) -> Answer:
        """One that has overtaken those before it in its batch, which begins at `first`, is sent again."""
        while True:
            answer = await self.insist(step, door)
            early = answer.cause == "gap" and (answer.expected or 0) >= first
            early = early or (answer.cause in ("unknown", "maybe-lost") and first == 1 and not step.start)
            if not early or (self.world.stopped() and not self.world.faultless):
                return answer
            await self.world.sleep(0.01)

    async def plain(self) -> None:
        """Steps without numbers, with ends, and with starts over sessions that live."""
        session = self.another()
        while not self.world.stopped():
            # A start whose fate is unknown is sent anew, and then is another start.
            while (await self._once(Step(session, self.world.book.word(), start=True))).outcome != "ok":
                if self.world.stopped():
                    return
                await self.rest()
            dark = 0
            for at in range(length := self.random.randint(3, 60) * self.world.lasting):
                if self.world.stopped() or dark == DARK:
                    break
                end = at == length - 1 and self.random.random() < 0.5
                answer = await self._once(Step(session, self.world.book.word(), end=end))
                dark = dark + 1 if answer.outcome == "unknown" else 0
                if answer.outcome == "refused" and answer.cause in FINAL:
                    break
            if session in self.ended and self.random.random() < 0.5:
                await self.ask(Step(session, self.world.book.word()))  # Which must not bring it back.
            if dark == DARK or self.random.random() < 0.5:
                session = self.another()

    async def _once(self, step: Step) -> Answer:
        """A step without a number: again only where it was refused, which leaves it free."""
        while True:
            answer = await self.ask(step)
            if answer.outcome == "ok":
                self._note(step)
            if answer.outcome != "refused" or answer.cause in FINAL:
                return answer
            if self.world.stopped() and not self.world.faultless:
                return answer
            await self.rest()

    async def minted(self) -> None:
        """Sessions whose ids the server makes; it names the life that it means."""
        while not self.world.stopped():
            answer = await self.ask(Step("", self.world.book.word(), new=True, start=True))
            if answer.seen is None:
                await self.rest()
                continue
            session, life = answer.seen.session, answer.seen.life
            self._note(Step(session, 0))
            dark = 0
            for _ in range(self.random.randint(3, 80) * self.world.lasting):
                if self.world.stopped() or dark == DARK:
                    break
                answer = await self._once(Step(session, self.world.book.word(), life=life))
                if answer.cause in FINAL:
                    break
                dark = dark + 1 if answer.outcome == "unknown" else 0

    async def shared(self, session: str) -> None:
        """Steps without numbers of a session that others step too."""
        dark = 0
        while not self.world.stopped() and dark < DARK // 2:
            answer = await self._once(Step(session, self.world.book.word()))
            if answer.cause in FINAL:
                break
            dark = dark + 1 if answer.outcome == "unknown" else 0

    async def hoard(self) -> None:
        """New sessions, as many as go in, while a volume is full; else it would hold out by what it has allocated."""
        while not self.world.stopped():
            if not self.world.crowded:
                await self.world.sleep(0.05)
                continue
            mine: list[str] = []
            while self.world.crowded and not self.world.stopped():
                session = self.another()
                answer = await self.ask(Step(session, self.world.book.word(), 1, start=True))
                if answer.outcome == "ok":
                    mine.append(session)
                    self._note(Step(session, 0))
                else:
                    await self.rest()
            for session in mine:
                step = Step(session, self.world.book.word(), 2, end=True)
                if (await self.insist(step)).outcome == "ok":
                    self._note(step)

    def _note(self, step: Step) -> None:
        self.sessions[step.session] = step
        if step.end:
            self.ended.add(step.session)
        elif step.start:
            self.ended.discard(step.session)

    async def read(self) -> None:
        """Ask each session once more, when all faults are mended: what it says then is what there is."""
        for session, step in self.sessions.items():
            word = self.world.book.word()
            if step.number is None:
                await self._read_plain(Step(session, word))
            else:
                answer = await self.insist(step)
                if answer.outcome in ("ok", "applied") and not step.end:
                    await self.insist(Step(session, word, step.number + 1))
                elif answer.cause in ("gap", "mismatch"):  # What was lost is not sent again: here it is to be seen.
                    await self.insist(Step(session, word, answer.expected))

    async def _read_plain(self, step: Step) -> None:
        answer = await self._once(step)
        for _ in range(3):
            if answer.outcome != "unknown":
                return
            answer = await self._once(step._replace(word=self.world.book.word()))


async def way(client: Client, place: int) -> None:
    """What a client does, by its place among twelve."""
    match place:
        case 0 | 1:
            session = SHARED[place]
            client.sessions[session] = Step(session, 0)
            await client.shared(session)
        case 2 | 3 | 4:
            await client.numbered()
        case 5:
            await client.pipelined()
        case 6 | 7:
            await client.minted()
        case 8 | 9:
            await client.hoard()
        case _:
            await client.plain()
