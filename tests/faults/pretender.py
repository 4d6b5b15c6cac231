"""A server of ledgers in memory, with lines to it that break, and with the faults that the checker must find.

Without a fault it does all that the protocol promises, so every history of its clients must pass.
"""

import asyncio
from dataclasses import dataclass, field
from random import Random

from tests.faults import ledger
from tests.faults.doors import Door
from tests.faults.history import Answer, Seen, Step

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


@dataclass
class _Life:
    name: str
    words: list[int] = field(default_factory=list)
    replies: dict[int, tuple[int, Seen]] = field(default_factory=dict)
    """By step: its word and its reply."""
    ended: bool = False


class Pretender:
    """The server; `fault` is one of FAULTS, and happens now and then."""

    def __init__(self, random: Random, fault: str = "") -> None:
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
            seen = seen._replace(page=ledger.pages(life.words)[-1])
        return Answer("ok", seen=seen._replace(repeat=True))

    def _apply(self, session: str, life: _Life, step: Step) -> Answer:
        life.words.append(step.word)
        if self._now("applies a step twice"):
            life.words.append(step.word)
        if self._now("invents a step"):
            life.words.append(ledger.word(10**6 + len(life.words)))
        if self._now("applies what it refuses"):
            return _no("moving")
        page = ledger.pages(life.words)[-1]
        if self._now("mixes two states"):
            page = page._replace(hash=(1, 2))
        if self._now("mixes two sessions"):
            other = self._random.choice(list(self._lives.values()))
            page = ledger.pages(other.words)[-1] if other.words else page
        life.ended = life.ended or step.end or self._now("ends by itself")
        seen = Seen(session, life.name, page.steps, False, page)
        life.replies[page.steps] = (step.word, seen)
        life.replies.pop(page.steps - 4, None)
        return Answer("ok", seen=seen)

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
            asyncio.get_running_loop().call_soon(asyncio.get_running_loop().call_soon, self._server.handle, step)
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
