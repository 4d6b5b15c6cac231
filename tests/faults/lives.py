"""What the replies of one life of a session prove. Pure.

The replies show a log: the word of each position. Every rule below is about that log and the ticks of the requests.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from tests.faults import ledger
from tests.faults.history import Op, Seen


class Violation(NamedTuple):
    """Something that must not be."""

    kind: str
    session: str
    text: str

    def __str__(self) -> str:
        return f"{self.kind}: session '{self.session}': {self.text}"


@dataclass
class Asked:
    """Every request that carried one word."""

    ops: list[Op] = field(default_factory=list)

    @property
    def sent(self) -> int:
        """When the first of them was sent that may have been applied."""
        return min(op.sent for op in self.ops if op.answer.outcome != "refused")

    @property
    def done(self) -> int | None:
        """When the first reply came; None: there was none."""
        return min((op.done for op in self.ops if op.answer.outcome == "ok"), default=None)

    @property
    def repeated(self) -> bool:
        """Every reply was a repeat of one that did not arrive."""
        return all(op.answer.seen.repeat for op in self.ops if op.answer.seen is not None)

    @property
    def refused(self) -> bool:
        """Each of them was told that it is not applied."""
        return all(op.answer.outcome == "refused" for op in self.ops)


@dataclass
class Life:
    """One life of a session: the operations that were answered from it, as (operation, reply), in their order."""

    session: str
    name: str
    replies: list[tuple[Op, Seen]]
    log: dict[int, int] = field(default_factory=dict)
    """Word by position, from 1."""

    @property
    def length(self) -> int:
        """The last position that any reply shows."""
        return max(self.log, default=0)

    def applied(self) -> Iterator[Op]:
        """The operations that were surely applied between their two ticks."""
        return (op for op, seen in self.replies if not seen.repeat)


def check_life(life: Life, words: Mapping[int, Asked]) -> list[Violation]:
    """Every rule about one life; fills its log."""
    found = [*own(life), *_log(life)]
    if not found:  # Else these would tell of the same again, in other words.
        found += [*_states(life), *_words(life, words), *_order(life, words)]
    return [*found, *_ends(life), *_repeats(life, words)]


def own(life: Life) -> Iterator[Violation]:
    """Each reply is about the step that was asked for, and counts as the state does."""
    for op, seen in life.replies:
        page, number = seen.page, op.step.number
        if page.recent[-1] != op.step.word:
            yield Violation(
                "crossed", life.session, f"{named(op)} was told of word {page.recent[-1]} as its own, at {page.steps}"
            )
        elif seen.step != page.steps:
            yield Violation(
                "number", life.session, f"{named(op)} was told to be step {seen.step}, the state has {page.steps}"
            )
        elif number is not None and number != page.steps:
            yield Violation(
                "number", life.session, f"{named(op)} has number {number} and was applied as step {page.steps}"
            )


def _log(life: Life) -> Iterator[Violation]:
    """Two replies that show different words at one position: one of them is of a state that was lost, or of a twin."""
    shown_by: dict[int, Op] = {}
    for op, seen in life.replies:
        for back, word in enumerate(reversed(seen.page.recent)):
            position = seen.page.steps - back
            if position < 1:
                if word:
                    yield Violation("state", life.session, f"{named(op)} shows word {word} before the first step")
                continue
            there = life.log.setdefault(position, word)
            shown_by.setdefault(position, op)
            if there != word:
                yield Violation(
                    "lost",
                    life.session,
                    f"step {position} is word {there} for {named(shown_by[position])} and word {word} for {named(op)}",
                )
                return
    if missing := [position for position in range(1, life.length) if position not in life.log]:
        yield Violation(
            "undecided",
            life.session,
            f"no reply shows the words of steps {missing[0]} to {missing[-1]}: "
            f"a client must not go on after {ledger.SHOWN - 1} requests without an answer",
        )


def _states(life: Life) -> Iterator[Violation]:
    right = ledger.pages([life.log[position] for position in range(1, life.length + 1)])
    for op, seen in life.replies:
        if seen.page != right[seen.page.steps - 1]:
            yield Violation(
                "state", life.session, f"{named(op)} shows {seen.page}, its words give {right[seen.page.steps - 1]}"
            )
            return


def _words(life: Life, words: Mapping[int, Asked]) -> Iterator[Violation]:
    for word, times in Counter(life.log.values()).items():
        if times > 1:
            at = [position for position, each in life.log.items() if each == word]
            yield Violation("doubled", life.session, f"word {word} was applied as steps {sorted(at)}")
    for position, word in life.log.items():
        yield from word_at(life, position, word, words)


def word_at(life: Life, position: int, word: int, words: Mapping[int, Asked]) -> Iterator[Violation]:
    """Whether a word may stand where it stands."""
    asked = words.get(word)
    if asked is None:
        yield Violation("phantom", life.session, f"step {position} is word {word}, which nobody sent")
        return
    step = asked.ops[0].step
    if asked.ops[0].session != life.session:
        yield Violation("crossed", life.session, f"step {position} is word {word} of session '{asked.ops[0].session}'")
    elif asked.refused:
        causes = ", ".join(op.answer.cause for op in asked.ops)
        yield Violation("refused", life.session, f"step {position} was told that it is not applied: {causes}")
    elif (position == 1) != step.start:
        what = "begins with a step that did not start it" if position == 1 else f"goes on at a start, {position}"
        yield Violation("amnesia", life.session, f"life {life.name} {what}: word {word}")
    elif step.life is not None and step.life != life.name:
        yield Violation("lives", life.session, f"step {position} of life {life.name} was meant for {step.life}")
    elif step.number is not None and step.number != position:
        yield Violation("number", life.session, f"number {step.number} was applied as step {position}")


def _order(life: Life, words: Mapping[int, Asked]) -> Iterator[Violation]:
    """Whatever was answered before another was sent stands before it."""
    earliest, of = None, 0
    for position in sorted(life.log, reverse=True):
        asked = words.get(life.log[position])
        if asked is None or asked.refused:
            continue
        if earliest is not None and earliest < asked.sent:
            yield Violation("reordered", life.session, f"step {position} was sent after step {of} had been answered")
            return
        done = asked.done
        if done is not None and (earliest is None or done < earliest):
            earliest, of = done, position


def _ends(life: Life) -> Iterator[Violation]:
    for op, seen in life.replies:
        if op.step.end and seen.page.steps < life.length:
            yield Violation(
                "resurrected", life.session, f"{named(op)} ended it at {seen.page.steps}; it went on to {life.length}"
            )
            return


def _repeats(life: Life, words: Mapping[int, Asked]) -> Iterator[Violation]:
    first: dict[int, Seen] = {}
    fresh: Counter[int] = Counter()
    for op, seen in life.replies:
        word = op.step.word
        before = first.setdefault(word, seen)
        if before.page != seen.page or before.step != seen.step:
            yield Violation("reply", life.session, f"{named(op)} was told {seen.page}, and before that {before.page}")
        fresh[word] += not seen.repeat
        if fresh[word] > 1:
            yield Violation("doubled", life.session, f"{named(op)} was applied anew, and had been applied before")
        if seen.repeat and not sent_before(op, words[word].ops):
            yield Violation("repeat", life.session, f"{named(op)} was sent once, and told that it is a repeat")


def sent_before(op: Op, ops: Sequence[Op]) -> bool:
    """Whether another request of the same word may have been applied before this one was answered."""
    return any(each is not op and each.sent < op.done and each.answer.outcome != "refused" for each in ops)


def named(op: Op) -> str:
    """What a violation calls a request."""
    number = "" if op.step.number is None else f" number {op.step.number}"
    return f"{op.client}'s{number} word {op.step.word} ({op.sent}-{op.done})"
