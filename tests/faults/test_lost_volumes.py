"""The checker where volumes are lost: what went with one is told, and nothing else is gone."""

import pytest

from mooring_runtime.sessions.keys import Key
from mooring_runtime.sessions.placement import place
from tests.faults import ledger
from tests.faults.checker import check
from tests.faults.history import Answer, Loss, Losses, Op, Seen, Step

REPLICAS = 3
HOME = {place(Key(ledger.NAME, f"s{number}"), REPLICAS): f"s{number}" for number in range(40)}
"""A session for each ordinal. Under one member all are at 0."""
STAYS = next(name for name in map(str, range(99)) if not any(place(Key(ledger.NAME, name), size) for size in (1, 2, 3)))
"""One that is at 0 whatever the members are."""


class Told:
    """The history of one session, as its client tells it."""

    def __init__(self, session: str) -> None:
        self.session, self.ops, self._words, self._tick = session, list[Op](), 0, 0
        self.log: list[int] = []
        self.life = "1"

    def refused(self, cause: str, expected: int | None = None) -> "Told":
        return self._op(Step(self.session, self._word()), Answer("refused", cause, expected))

    def applied(self, *, start: bool = False, kept: int | None = None) -> "Told":
        """A step after the first `kept` steps, or after all."""
        word = self._word()
        self.log = [*self.log[:kept], word]
        seen = Seen(self.session, self.life, len(self.log), False, ledger.page(self.log))
        return self._op(Step(self.session, word, start=start), Answer("ok", seen=seen))

    def lost(self, ordinal: int) -> Losses:
        """What may be lost: a volume, from here on to the next request."""
        self._tick += 10
        return Losses((Loss("lose", ordinal, self._tick - 9, self._tick, 0.0),), REPLICAS, interval=False)

    def last(self) -> "Told":
        """What was asked last was asked when all was mended."""
        *ops, op = self.ops
        self.ops = [*ops, Op(op.client, op.step, op.answer, op.sent, op.done, last=True)]
        return self

    def _word(self) -> int:
        self._words += 1
        return ledger.word(self._words)

    def _op(self, step: Step, answer: Answer) -> "Told":
        self.ops.append(Op("c", step, answer, self._tick + 1, self._tick + 5))
        self._tick += 10
        return self


def kinds(told: Told, losses: Losses) -> set[str]:
    return {each.kind for each in check(told.last().ops, losses).violations}


def begun(ordinal: int = 2) -> Told:
    return Told(HOME[ordinal]).applied(start=True).applied().applied()


def test_a_session_may_go_with_its_volume() -> None:
    told = begun()
    losses = told.lost(2)
    told.refused("volume-replaced").refused("maybe-lost")
    assert kinds(told, losses) == {"forgotten"}, (
        "the volume was given up before the client was told that it is replaced"
    )
    told = begun()
    losses = told.lost(2)
    assert kinds(told.refused("maybe-lost"), losses) == set()


@pytest.mark.parametrize("lost", [1, 2])
def test_no_session_goes_with_another_volume(lost: int) -> None:
    told = Told(STAYS).applied(start=True)
    losses = told.lost(lost)
    assert "forgotten" in kinds(told.refused("maybe-lost"), losses)


def test_nothing_is_lost_where_no_volume_is() -> None:
    assert "forgotten" in kinds(begun().refused("maybe-lost"), Losses((), REPLICAS, interval=False))
    assert "lost" in kinds(begun().applied(kept=1), Losses((), REPLICAS, interval=False))


def test_what_was_lost_stays_lost() -> None:
    told = begun()
    losses = told.lost(2)
    told.refused("maybe-lost").applied()
    assert kinds(told, losses) == {"resurrected"}
    told = begun()
    losses = told.lost(2)
    told.refused("maybe-lost")
    told.life, told.log = "2", []
    assert kinds(told.applied(start=True), losses) == set()


def test_one_that_goes_on_from_an_older_copy_says_so_once() -> None:
    told = begun()
    losses = told.lost(2)
    assert kinds(told.refused("rewound", 3).applied(kept=2), losses) == set()
    told = begun()
    losses = told.lost(2)
    assert kinds(told.applied(kept=2), losses) == {"silent"}
    told = begun()
    losses = told.lost(2)
    assert kinds(told.refused("rewound", 3).refused("rewound", 3).applied(kept=2), losses) == {"rewound"}
