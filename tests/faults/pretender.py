"""A server of ledgers in memory, with lines to it that break, and with the faults that the checker must find.

Without a fault it does all that the protocol promises, so every history of its clients must pass.
"""

import asyncio
from dataclasses import dataclass, field
from random import Random

from tests.faults import ledger
from tests.faults.doors import Door
from tests.faults.history import Answer, Book, Loss, Seen, Step

FAULTS = {
    "forgets the last step": {"lost", "state", "gap"},
    "forgets a session": {"forgotten", "undecided"},
    "begins anew in silence": {"amnesia", "lost", "resurrected", "number", "gap"},
    "applies a repeat": {"doubled", "number", "gap"},
    "applies a step twice": {"doubled", "number", "gap"},
    "swaps two steps": {"reordered", "lost", "state"},
    "applies what it refuses": {"refused", "doubled", "number", "gap", "mismatch"},
    "goes on after the end": {"resurrected"},
    "ends by itself": {"ended"},
    "invents a step": {"phantom", "number", "gap"},
    "mixes two states": {"state"},
    "mixes two sessions": {"crossed", "lost"},
    "answers a repeat with the present": {"reply", "crossed"},
    "keeps no reply": {"gone"},
    "says a repeat is a mismatch": {"mismatch"},
    "keeps two copies": {"lost", "gap", "resurrected", "number"},
    "does not say whether": {"untold"},
    "serves an old life": {"resurrected"},
}
"""By each fault the kinds of violations by which it may be found."""
INTERVAL_FAULTS = {
    "loses what is on disk": {"durable", "gap", "rewound"},
    "loses without a crash": {"lost", "gap"},
    "loses a step in the middle": {"doubled", "durable"},
    "loses sessions": {"forgotten", "undecided"},
    "does not tell of losses": {"silent"},
    "tells of losses again and again": {"rewound"},
    "tells of losses that cannot be": {"rewound"},
    "applies its last step again after a crash": {"doubled", "number", "gap"},
    "comes back with what was lost": {"resurrected", "doubled"},
    "forgets numbers in a crash": {"number", "silent"},
    "keeps nothing for long": {"late"},
}
"""The same for a server whose replies go before its commits; it may have all the others, too."""
LAZY_TICKS = 60
"""Ticks that a step waits for its commit."""
CRASHES = 0.01
"""How often it crashes, of times that it is asked."""


@dataclass
class _Life:
    name: str
    words: list[int] = field(default_factory=list)
    replies: dict[int, tuple[int, Seen]] = field(default_factory=dict)
    """By step: its word and its reply."""
    ended: bool = False
    durable: int = 0
    """Steps that outlive a crash."""
    ahead: int = 0
    """The tick of the first step that would not; 0: none."""
    rewound: bool = False
    lost: list[int] = field(default_factory=list)
    """The words that the last crash took."""


class Pretender:
    """The server; `fault` is one of FAULTS, and happens now and then."""

    def __init__(self, random: Random, fault: str = "", book: Book | None = None) -> None:
        """`book`: its replies go before its commits, and it crashes; what that may cost is in `losses`."""
        self._book = book
        self.losses: list[Loss] = []
        self._random = random
        self._fault = fault
        self._lives: dict[str, _Life] = {}
        self._former: dict[str, _Life] = {}
        self._made = 0
        self.mended = False
        """No line breaks any more."""

    def doors(self, _: Random) -> list[Door]:
        """Two ways to it."""
        return [_Line(self, self._random), _Line(self, self._random)]

    def _now(self, fault: str, chance: float = 0.05) -> bool:
        return self._fault == fault and self._random.random() < chance

    def handle(self, step: Step) -> Answer:
        """What the server does and says."""
        if self._book is not None:
            self._pass_time(self._book)
        return self._handle(step)

    def late(self, step: Step, crashes: int) -> None:
        """A request that nobody waits for any more; a crash has swept it away."""
        if self._book is not None:
            self._pass_time(self._book)
        if crashes == len(self.losses):
            self._handle(step)

    def _handle(self, step: Step) -> Answer:
        session = step.session
        if step.new:
            self._made += 1
            session = f"0.{self._made:026d}"
        life = self._lives.get(session)
        if life is not None:
            self._err(session, life)
            life = self._lives.get(session)
        if (step.number is None or step.number == 1) and step.start and (life is None or step.number is None):
            return self._begin(session, step)
        if life is None:
            return self._begin(session, step) if self._fault == "begins anew in silence" else _no("unknown")
        return self._step(session, life, step)

    def _begin(self, session: str, step: Step) -> Answer:
        if session in self._lives:
            self._former[session] = self._lives[session]
        self._made += 1
        life = self._lives[session] = _Life(str(2**63 + self._made))
        return self._apply(session, life, step)

    def _step(self, session: str, life: _Life, step: Step) -> Answer:
        number, done = step.number, len(life.words)
        if step.life is not None and step.life != life.name:
            return _no("restarted")
        if number is not None and number <= done and self._fault != "applies a repeat":
            return self._repeat(life, step, number)
        if life.ended and self._fault != "goes on after the end":
            return _no("ended")
        if number is not None and number > done + 1:
            return _no("gap", done + 1)
        if step.start and number is not None and done:
            return _no("exists")
        if life.rewound and number is None and self._fault != "does not tell of losses":
            life.rewound = self._now("tells of losses again and again", 0.5)
            return _no("rewound", done + 1)
        if number is None and self._now("tells of losses that cannot be"):
            return _no("rewound", done + 1)
        if session in self._former and self._now("serves an old life", 0.3):
            life = self._former[session]
        return self._apply(session, life, step)

    def _repeat(self, life: _Life, step: Step, number: int) -> Answer:
        kept = life.replies.get(number)
        if kept is None or self._now("keeps no reply", 1):
            return Answer("applied", "reply-gone")
        word, seen = kept
        if word != step.word or self._now("says a repeat is a mismatch", 1):
            return _no("exists" if step.start else "mismatch")
        if self._fault == "answers a repeat with the present":
            seen = seen._replace(page=ledger.page(life.words))
        return Answer("ok", seen=seen._replace(repeat=True))

    def _apply(self, session: str, life: _Life, step: Step) -> Answer:
        life.words.append(step.word)
        if self._now("applies a step twice"):
            life.words.append(step.word)
        if self._now("invents a step"):
            life.words.append(ledger.word(10**6 + len(life.words)))
        if self._now("applies what it refuses"):
            return _no("moving")
        page = ledger.page(life.words)
        if self._now("mixes two states"):
            page = page._replace(hash=(1, 2))
        if self._now("mixes two sessions"):
            other = self._random.choice(list(self._lives.values()))
            page = ledger.page(other.words) if other.words else page
        life.ended = life.ended or step.end or self._now("ends by itself")
        life.rewound = False
        if step.start or step.end:
            life.durable, life.ahead = page.steps, 0
        elif self._book is not None:
            life.ahead = life.ahead or self._book.tick()
        seen = Seen(session, life.name, page.steps, False, page, life.durable if self._book is not None else None)
        life.replies[page.steps] = (step.word, seen)
        life.replies.pop(page.steps - 4, None)
        return Answer("ok", seen=seen)

    def _pass_time(self, book: Book) -> None:
        """Commit what has waited for long enough, and crash now and then."""
        now = book.tick()
        for life in self._lives.values():
            if life.ahead and now - life.ahead > LAZY_TICKS and self._fault != "keeps nothing for long":
                life.durable, life.ahead = len(life.words), 0
        loses = self._now("loses without a crash", 0.02)
        if self.mended or (self._random.random() >= CRASHES and not loses):
            return
        if not loses:
            self.losses.append(Loss("kill", 0, now, book.tick(), book.clock()))
        for life in self._lives.values():
            self._crash(life)
        if self._now("loses sessions", 0.5) and self._lives:
            del self._lives[self._random.choice(list(self._lives))]

    def _crash(self, life: _Life) -> None:
        if self._now("comes back with what was lost", 0.5) and life.lost:
            life.words[life.durable :], life.lost = life.lost, []
            return
        kept = life.durable - self._now("loses what is on disk", 0.5)
        if self._now("loses a step in the middle", 0.5) and 1 < kept < len(life.words):
            life.words.pop(kept)
        elif not self._now("forgets numbers in a crash", 0.5):
            life.lost = life.words[kept:]
            del life.words[kept:]
        else:
            life.words[kept:] = life.words[kept:][-1:]
        if self._now("applies its last step again after a crash", 0.5):
            life.words.append(life.words[-1])
        for step in [each for each in life.replies if each > len(life.words)]:
            del life.replies[step]
        life.rewound, life.ahead = not life.ended, 0

    def _err(self, session: str, life: _Life) -> None:
        """What a bad server does between two steps."""
        if self._now("forgets the last step") and life.words:
            life.words.pop()
        if self._now("forgets a session") or self._now("begins anew in silence"):
            del self._lives[session]
        if self._now("swaps two steps") and len(life.words) > 2:
            life.words[-2:] = reversed(life.words[-2:])
        if self._now("keeps two copies"):
            twin = self._former.setdefault(session, _Life(life.name))
            twin.words = twin.words or list(life.words[:-1])
            self._lives[session], self._former[session] = twin, life


class _Line(Door):
    def __init__(self, server: Pretender, random: Random) -> None:
        self._server = server
        self._random = random

    async def ask(self, step: Step, seconds: float) -> Answer:
        await asyncio.sleep(0)
        chance = 1.0 if self._server.mended else self._random.random()
        if chance < 0.03:
            return _no("owner-down")
        if chance < 0.06:
            return Answer("unknown", "TimeoutError")
        if chance < 0.08:
            loop, crashes = asyncio.get_running_loop(), len(self._server.losses)
            loop.call_soon(loop.call_soon, self._server.late, step, crashes)
            return Answer("unknown", "TimeoutError")
        answer = self._server.handle(step)
        await asyncio.sleep(0)
        if chance < 0.11:
            return Answer("unknown", "IncompleteReadError")
        if chance < 0.13 and self._server._fault == "does not say whether":
            return Answer("unknown", "untold: HTTP 500 {}")
        return answer

    async def close(self) -> None:
        pass


def _no(cause: str, expected: int | None = None) -> Answer:
    return Answer("refused", cause, expected)
