"""What the replies of one life of a session prove where acknowledged steps may be undone. Pure.

Steps are undone from the end, back to some state from which the session goes on: the states are a tree, of which one
branch lives at a time. Proved of every life without a violation:

- no branch has a word twice, or one that was not asked for again after it was undone (`doubled`, `resurrected`);
- what was answered before another was sent stands before it, on every branch (`reordered`);
- a branch that was left is left (`resurrected`), and was left because of something that may cost steps (`lost`);
- what was told to be on disk stays (`durable`), and what is older than an interval is on disk (`late`);
- who sends no numbers is told before the next step is applied (`silent`); to the others their number tells, since no
  step ever gets another number than its own.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence

from mooring_runtime.sessions.keys import Key
from mooring_runtime.sessions.placement import places
from tests.faults import ledger
from tests.faults.history import Loss, Losses, Op
from tests.faults.lives import Asked, Life, Violation, named, own, sent_before, word_at
from tests.faults.tree import State, Tree, earliest, grown, replies_by_state, state_of

LATE = 5.0
"""Seconds that a step may wait for the disk at most. The interval of these runs is a fraction of one, but a server may
stand still for longer than that, and its machine may be slow.
"""


class Branches:
    """The verdict on one life."""

    def __init__(self, life: Life, words: Mapping[int, Asked], ops: Sequence[Op], losses: Losses) -> None:
        """`ops` are all requests of the session."""
        self._life, self._words, self._losses = life, words, losses
        self._ops = ops
        self._tree, self._broken = grown(life)
        self.undone = 0
        """Acknowledged steps that were lost as they may be."""
        for state in self._tree.order[1:]:
            life.log[state.steps] = self._tree.word[state]

    def check(self) -> list[Violation]:
        """Every rule about it."""
        found = [*own(self._life), *self._broken]
        if not found:  # Else there is no tree that all replies have a place in.
            found += [*self._placed(), *self._order(), *self._ends(), *self._left()]
        return [*found, *self._repeats()]

    def _placed(self) -> Iterator[Violation]:
        life, tree = self._life, self._tree
        places: dict[int, list[State]] = defaultdict(list)
        for state in tree.order[1:]:
            word = tree.word[state]
            places[word].append(state)
            yield from word_at(life, state.steps, word, self._words)
        for word, states in places.items():
            asked = sum(op.answer.outcome != "refused" for op in self._words[word].ops) if word in self._words else 0
            inside = any(tree.above(one, other) for one in states for other in states if one is not other)
            if inside or len(states) > max(1, asked):
                at = sorted(state.steps for state in states)
                yield Violation("doubled", life.session, f"word {word} was applied as steps {at}, sent {asked} times")

    def _order(self) -> Iterator[Violation]:
        tree = self._tree
        answered = {state: min(op.done for op, _ in replies) for state, replies in replies_by_state(self._life).items()}
        later = earliest(tree, answered, own=False)
        for state in tree.order[1:]:
            asked = self._words.get(tree.word[state])
            if asked is not None and not asked.refused and state in later and later[state] < asked.sent:
                yield Violation(
                    "reordered", self._life.session, f"step {state.steps} was sent after one behind it was answered"
                )
                return

    def _ends(self) -> Iterator[Violation]:
        life, tree = self._life, self._tree
        for op, seen in life.replies:
            if not op.step.end:
                continue
            last = state_of(seen.page)
            on = tree.after.get(last) or any(
                not other.repeat and op.done < each.sent for each, other in life.replies if each is not op
            )
            if on:
                yield Violation("resurrected", life.session, f"{named(op)} ended it at {last.steps}, and it went on")
                return

    def _repeats(self) -> Iterator[Violation]:
        for op, seen in self._life.replies:
            if seen.repeat and not sent_before(op, self._words[op.step.word].ops):
                yield Violation(
                    "repeat", self._life.session, f"{named(op)} was sent once, and told that it is a repeat"
                )

    # --- what is undone

    def _left(self) -> Iterator[Violation]:
        """Goes through the replies as they came, with those whose steps are in the state: they are one branch."""
        tree = self._tree
        safe = earliest(tree, self._claims(), own=True)
        there: list[tuple[Op, State]] = []
        undone: dict[State, Op] = {}
        """By state, the request that showed that it was left."""
        for op, seen in sorted(self._life.replies, key=lambda each: each[0].done):
            state = state_of(seen.page)
            while there and not _stands(tree, *there[-1], op, state, repeat=seen.repeat):
                lost, left = there.pop()
                yield from self._loss(lost, left, op, safe.get(left))
                undone[left] = op
            if not there or (there[-1][1] != state and tree.above(there[-1][1], state)):
                yield from self._returned(op, state, there[-1][1].steps if there else 0, undone)
                there.append((op, state))

    def _claims(self) -> dict[State, int]:
        """When it was told first that a state is on disk."""
        claims: dict[State, int] = {}
        for op, seen in self._life.replies:
            state = state_of(seen.page)
            durable = seen.page.steps if not self._losses.interval or op.step.end else seen.durable
            if durable:
                kept = self._tree.at(state, min(durable, state.steps))
                claims[kept] = min(op.done, claims.get(kept, op.done))
        return claims

    def _loss(self, lost: Op, left: State, by: Op, safe: int | None) -> Iterator[Violation]:
        """A step that was acknowledged is not in the state any more, as a later reply shows."""
        self.undone += 1
        what = f"step {left.steps} of {named(lost)} was undone, as {named(by)} shows"
        session = self._life.session
        causes = explaining(self._losses, lost, by)
        if not causes:
            yield Violation("lost", session, f"{what}, and nothing had happened")
            return
        honest = [each for each in causes if each.kind == "lose" or safe is None or each.begun <= safe]
        if not honest:
            yield Violation("durable", session, f"{what}, and was told to be on disk at {safe}")
            return
        if all(each.kind != "lose" and lost.done < each.begun and lost.at < each.at - LATE for each in honest):
            yield Violation("late", session, f"{what}, and had waited for longer than {LATE} s")
        if lost.step.number is None and by.step.number is None and not self._told(lost, by, honest):
            yield Violation("silent", session, f"{what}, and nobody was told")

    def _told(self, lost: Op, by: Op, causes: Sequence[Loss]) -> bool:
        """Somebody heard of it before the next step was applied, or the answer that said so may have been lost."""
        for op in self._ops:
            if op is by or not (lost.sent < op.done and op.sent < by.done):
                continue
            if op.answer.cause == "rewound":
                return True
            if op.answer.outcome == "unknown" and any(
                not self._losses.alone or each.kind == "full" or each.ended < op.done for each in causes
            ):
                return True
        return False

    def _returned(self, op: Op, state: State, known: int, undone: dict[State, Op]) -> Iterator[Violation]:
        """Whatever was undone may be in the state again only where it was asked for again."""
        tree = self._tree
        for each in tree.path(state):
            if each.steps <= known:
                return
            shown = undone.pop(each, None)
            if shown is None or op.sent < shown.done:
                continue
            again = (asked for asked in self._words[tree.word[each]].ops if asked.answer.outcome != "refused")
            if not any(asked.done > shown.sent or asked.answer.outcome == "unknown" for asked in again):
                yield Violation(
                    "resurrected",
                    self._life.session,
                    f"{named(op)} has step {each.steps} before it, which was gone for {named(shown)}",
                )
                return


def _stands(tree: Tree, earlier: Op, there: State, op: Op, state: State, *, repeat: bool) -> bool:
    """Whether what was there may still be there, as far as a later reply goes."""
    if there != state and tree.above(there, state):
        return True
    # A reply about the same, or about what is before it: a repeat, or an answer that was overtaken.
    return tree.above(state, there) and (repeat or op.sent < earlier.done)


def explaining(losses: Losses, lost: Op, by: Op) -> list[Loss]:
    """What may have undone a step before another request was done."""
    homes = at(lost.session, losses.replicas)
    return [
        each
        for each in losses.events
        if each.begun < by.done and lost.sent < each.ended and (each.kind != "lose" or each.ordinal in homes)
    ]


def at(session: str, replicas: int) -> list[int]:
    """The ordinals that may have a session, whatever the members are."""
    return places(Key(ledger.NAME, session), range(1, replicas + 1))
