"""silero-vad in the place of the ledger: what it says proves which sounds it heard, each once and in order.

Each word is a sound of its own. A reply shows how likely somebody speaks, and a part of the state; both follow from
every chunk before. Whoever hears the same chunks alone (`tests.demo.speech`) must say the same, and a chunk that is
missing, doubled or swapped changes the state a thousand times as much as is let pass here. So a reply that is right
proves the very words that a page of the ledger would show, and all rules of the checker hold of it.
"""

import dataclasses
import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from functools import cache

import numpy as np

from examples.speech.client import chunks, voice
from mooring_runtime.messages import Array
from tests.demo import speech
from tests.faults import ledger
from tests.faults.checker import Verdict, check
from tests.faults.history import Losses, Op
from tests.faults.ledger import Page
from tests.faults.lives import Violation, named
from tests.faults.subject import Elements, Shown, Subject

EVERY = 16
"""Of the state's elements a reply keeps one in so many."""
_OUTPUTS = ("output", "stateN")
_SOUND_SECONDS = 1.4
_UNPROVED = Page(0, (), 0, ())


def sound(word: int) -> list[float]:
    """The chunk of a word. The same noise and voice serve many words, each at a loudness of its own."""
    pool = _pool()
    heard: list[float] = (pool[word % len(pool)] * np.float32(0.25 + 0.75 * word / ledger.MODULUS)).tolist()
    return heard


@cache
def _pool() -> list[Array]:
    """43 chunks: a prime number of them, so that the words of a session go through all."""
    return [np.array(chunk, np.float32) for chunk in chunks(voice(_SOUND_SECONDS))]


def alone(words: Iterable[int]) -> list[tuple[float, ...]]:
    """What the replies show of one session with these words, when nobody else is there and nothing ever fails."""
    return [_shown([said], state.ravel().tolist()) for said, state in speech.steps(map(sound, words))]


def _shown(said: Elements, state: Elements) -> tuple[float, ...]:
    # Batch-first or not: of one session the elements stand in the same order.
    return (*map(float, said), *map(float, state[::EVERY]))


SPEECH = Subject(
    speech.NAME,
    "silero-vad",
    "input",
    "FP32",
    sound,
    lambda outputs: Shown(_UNPROVED, _shown(*(outputs[name] for name in _OUTPUTS))),
    _OUTPUTS,
)


def judged(ops: Sequence[Op], losses: Losses | None = None) -> Verdict:
    """The verdict of `checker.check`, and on every reply whether it is what the model says alone.

    A history of the ledger passes through as it is. Of a model of sounds every step needs its number, and a number has
    one word: the clients are those that do not ask what they should not.
    """
    proved, found = _proved(ops)
    verdict = check(proved, losses)
    verdict.violations[:0] = found
    return verdict


def _proved(ops: Sequence[Op]) -> tuple[list[Op], list[Violation]]:
    """The history with the page of each reply that was heard, and the replies that are wrong."""
    lives: dict[tuple[str, str], list[Op]] = defaultdict(list)
    for op in ops:
        if (seen := op.answer.seen) is not None and seen.heard:
            lives[op.session, seen.life].append(op)
    found: list[Violation] = []
    pages: dict[int, Page] = {}
    for (session, _), replies in lives.items():
        words = {_number(op): op.step.word for op in replies}
        missing = next((number for number in range(1, max(words)) if number not in words), 0)
        if missing:
            found.append(Violation("undecided", session, f"nobody was told of step {missing}, and later ones were"))
            pages |= {id(op): Page(_number(op), (), 0, (op.step.word,)) for op in replies}
            continue
        line = [words[number] for number in range(1, max(words) + 1)]
        found += _wrong(session, replies, line)
        right = ledger.pages(line)
        pages |= {id(op): right[_number(op) - 1] for op in replies}
    return [_with(op, pages) for op in ops], found


def _number(op: Op) -> int:
    """Of a reply's step; the first of a session that a server names has none."""
    return 1 if op.step.number is None else op.step.number


def _wrong(session: str, replies: Iterable[Op], words: Sequence[int]) -> list[Violation]:
    """The first reply that is not what the model says alone."""
    right = alone(words)
    for op in sorted(replies, key=lambda each: each.done):
        assert op.answer.seen is not None
        heard, number = op.answer.seen.heard, _number(op)
        if not _alike(heard, right[number - 1]):
            where = [at + 1 for at, each in enumerate(right) if _alike(heard, each)]
            text = f", which it says after {where[0]} steps" if where else ", which it never says of these sounds"
            text = (
                f"{named(op)} was told {heard[0]:.6f} at step {number}{text}; alone it says {right[number - 1][0]:.6f}"
            )
            return [Violation("state", session, text)]
    return []


def _alike(one: Sequence[float], other: Sequence[float]) -> bool:
    near = speech.TOLERANCE
    return len(one) == len(other) and all(
        math.isclose(a, b, rel_tol=near, abs_tol=near) for a, b in zip(one, other, strict=True)
    )


def _with(op: Op, pages: Mapping[int, Page]) -> Op:
    seen = op.answer.seen
    if seen is None or id(op) not in pages:
        return op
    return dataclasses.replace(op, answer=op.answer._replace(seen=seen._replace(page=pages[id(op)])))
