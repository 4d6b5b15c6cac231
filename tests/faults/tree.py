"""The states that the replies of one life show, where some steps may have been undone: a tree. Pure.

A state is told from all others by its number of steps and its hash. A reply shows the words behind its hash, and the
hash can be undone word by word, so each reply names the sixteen states before its own as well: where two replies agree
on one of them, all before it is the same.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from tests.faults import ledger
from tests.faults.history import Op, Seen
from tests.faults.ledger import Page
from tests.faults.lives import Life, Violation, named


class State(NamedTuple):
    """One state of a life."""

    steps: int
    hash: tuple[int, ...]


ROOT = State(0, (0,) * len(ledger.FACTORS))
_INVERSES = [pow(factor, -1, ledger.MODULUS) for factor in ledger.FACTORS]


def state_of(page: Page) -> State:
    """The state that a reply shows."""
    return State(page.steps, page.hash)


def shown(page: Page) -> Iterator[tuple[State, State, int]]:
    """The states that a reply shows, its own first: each with the one before it, and the word between them."""
    state = state_of(page)
    for word in reversed(page.recent[-page.steps :]):
        hashes = zip(state.hash, _INVERSES, strict=True)
        before = State(state.steps - 1, tuple((each - word) * back % ledger.MODULUS for each, back in hashes))
        yield state, before, word
        state = before


@dataclass
class Tree:
    """All states of a life."""

    before: dict[State, State] = field(default_factory=dict)
    word: dict[State, int] = field(default_factory=dict)
    after: dict[State, list[State]] = field(default_factory=dict)
    order: list[State] = field(default_factory=list)
    """Each behind the one that it was made of."""
    _began: dict[State, int] = field(default_factory=dict)
    _ended: dict[State, int] = field(default_factory=dict)

    def above(self, older: State, state: State) -> bool:
        """Whether `state` was made of `older`, or is the same."""
        return self._began[older] <= self._began[state] < self._ended[older]

    def path(self, state: State) -> Iterator[State]:
        """A state and those that it was made of, the last first, without the first of all."""
        while state != ROOT:
            yield state
            state = self.before[state]

    def at(self, state: State, steps: int) -> State:
        """What a state was made of, after so many steps."""
        while state.steps > steps:
            state = self.before[state]
        return state

    def link(self) -> None:
        """Put everything in order that is reached from the beginning."""
        waiting = [(ROOT, False)]
        while waiting:
            state, left = waiting.pop()
            if left:
                self._ended[state] = len(self.order)
                continue
            self._began[state] = len(self.order)
            self.order.append(state)
            waiting.append((state, True))
            waiting += [(each, False) for each in self.after.get(state, ())]

    def reached(self, state: State) -> bool:
        """Whether all before it is known."""
        return state in self._began


def grown(life: Life) -> tuple[Tree, list[Violation]]:
    """The tree of a life, and what is wrong with what the replies show by themselves; then there is no tree to use."""
    tree = Tree()
    for _, seen in life.replies:
        for state, before, word in shown(seen.page):
            if state not in tree.before:
                tree.before[state], tree.word[state] = before, word
                tree.after.setdefault(before, []).append(state)
    tree.link()
    return tree, [*_unreached(life, tree), *_totals(life, tree)]


def _unreached(life: Life, tree: Tree) -> Iterator[Violation]:
    known = {state.steps for state in tree.order}
    for op, seen in life.replies:
        page = seen.page
        if any(page.recent[: -page.steps]):
            yield Violation("state", life.session, f"{named(op)} shows words before the first step")
        elif not tree.reached(state_of(page)):
            first = max(page.steps - ledger.SHOWN, 0)
            if first in known:
                yield Violation("state", life.session, f"{named(op)} shows {page}, which no words give that were shown")
            else:
                yield Violation("undecided", life.session, f"no reply shows what is before step {first + 1}")
            return


def _totals(life: Life, tree: Tree) -> Iterator[Violation]:
    sums = {ROOT: 0}
    for state in tree.order[1:]:
        sums[state] = sums[tree.before[state]] + tree.word[state]
    for op, seen in life.replies:
        state = state_of(seen.page)
        if state not in sums:
            return
        right = sums[state] - sums[tree.at(state, max(0, state.steps - ledger.KEPT))]
        if seen.page.total != right:
            yield Violation("state", life.session, f"{named(op)} shows {seen.page}, whose words make {right}")
            return


def earliest(tree: Tree, ticks: Mapping[State, int], *, own: bool) -> dict[State, int]:
    """By state the earliest tick of those that were made of it; `own`: and of itself."""
    found: dict[State, int] = {}
    below: dict[State, int] = {}
    for state in reversed(tree.order):
        mine, under = ticks.get(state), below.get(state)
        least = min((each for each in (mine, under) if each is not None), default=None)
        told = least if own else under
        if told is not None:
            found[state] = told
        if least is not None and state != ROOT:
            before = tree.before[state]
            below[before] = min(least, below.get(before, least))
    return found


def replies_by_state(life: Life) -> dict[State, list[tuple[Op, Seen]]]:
    """The requests that were answered with each state."""
    found: dict[State, list[tuple[Op, Seen]]] = {}
    for op, seen in life.replies:
        found.setdefault(state_of(seen.page), []).append((op, seen))
    return found
