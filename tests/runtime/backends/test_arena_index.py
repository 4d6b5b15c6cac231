"""Which states have their images where, against a plain table of what was written where; and how many have room."""

import itertools

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from mooring_runtime.backends.arena.index import Index, State
from mooring_runtime.backends.arena.making import SPARE, sizes
from mooring_runtime.messages import StatePair


def state() -> State:
    # Alike in all but who they are: nothing may be found by what is in it.
    return np.zeros((1, 2)), np.zeros((1, 2))


class Ring:
    """An index, and beside it what really is in each slot: the number of the state that was written there last."""

    def __init__(self, slots: int, step: int) -> None:
        self.index = Index(slots, step)
        self.step = step
        self.slots: list[int | None] = [None] * slots
        self.alive: dict[int, State] = {}
        self.numbers = itertools.count()

    def new(self, count: int) -> list[int]:
        numbers = list(itertools.islice(self.numbers, count))
        for number in numbers:
            self.alive[number] = state()
        return numbers

    def run(self, count: int, padding: int, *, fails: bool) -> None:
        block = min(count + padding, len(self.slots))
        count = min(count, block)
        start = self.index.reserve(block)
        assert start % self.step == 0
        assert 0 <= start <= len(self.slots) - block
        self.slots[start : start + block] = [None] * block
        if fails:
            return
        numbers = self.new(count)
        self.slots[start : start + count] = numbers
        self.index.learn(start, [self.alive[number] for number in numbers])

    def check(self) -> None:
        for number, each in self.alive.items():
            slot = self.index.find(each)
            assert (None if slot is None else self.slots[slot]) == (number if number in self.slots else None)


ACTIONS = st.one_of(
    st.tuples(st.just("run"), st.integers(1, 6), st.integers(0, 3)),
    st.tuples(st.just("fail"), st.integers(1, 6), st.integers(0, 3)),
    st.tuples(st.just("drop"), st.integers(0, 10), st.integers(1, 5)),
    st.tuples(st.just("stranger"), st.integers(1, 5), st.just(0)),
)


@settings(deadline=None)
@given(st.integers(6, 24), st.sampled_from([1, 2, 4]), st.lists(ACTIONS, max_size=60))
def test_what_is_found_is_what_is_there(slots: int, step: int, actions: list[tuple[str, int, int]]) -> None:
    ring = Ring(slots, step)
    for action, one, other in actions:
        if action in ("run", "fail"):
            ring.run(one, other, fails=action == "fail")
        elif action == "drop":
            # Their `id`s are free for the next arrays.
            for number in list(ring.alive)[one : one + other]:
                del ring.alive[number]
        else:
            ring.new(one)
        ring.check()
        assert len(ring.index) <= slots


def test_an_array_that_has_the_id_of_a_lost_one_is_not_taken_for_it() -> None:
    index = Index(4)
    lost = (np.zeros(2),)
    index.learn(index.reserve(1), [lost])
    key = id(lost[0])
    del lost
    kept: list[State] = []
    while not kept or id(kept[-1][0]) != key:
        assert len(kept) < 10_000, "CPython gives the place of an array that is gone to the next one"
        kept.append((np.zeros(2),))
    assert index.find(kept[-1]) is None
    # Nor does the end of the lost one's slot end what stands for the new one.
    index.learn(index.reserve(1), [kept[-1]])
    assert index.find(kept[-1]) == 1
    index.reserve(2)
    assert index.find(kept[-1]) == 1
    index.learn(2, [state(), state()])
    index.reserve(1)
    assert index.find(kept[-1]) == 1


def test_a_state_of_which_another_array_is_new_is_another() -> None:
    index = Index(4)
    one = state()
    index.learn(index.reserve(1), [one])
    assert index.find(one) == 0
    assert index.find((one[0], one[1].copy())) is None


def test_a_run_that_fails_uses_up_nothing_and_leaves_nothing() -> None:
    index = Index(4)
    kept = [state() for _ in range(4)]
    for each in kept:
        index.learn(index.reserve(1), [each])
    assert index.reserve(2) == index.reserve(2) == 0
    assert [index.find(each) for each in kept] == [None, None, 2, 3]


def test_a_block_does_not_go_over_the_end() -> None:
    index = Index(5)
    first, second = [state() for _ in range(3)], [state() for _ in range(3)]
    index.learn(index.reserve(3), first)
    index.learn(index.reserve(3), second)
    assert [index.find(each) for each in first + second] == [None, None, None, 0, 1, 2]


def test_blocks_begin_where_memory_is_aligned() -> None:
    index = Index(64, step=16)
    starts = []
    for count in (1, 16, 17, 3, 1):
        starts.append(index.reserve(count))
        index.learn(starts[-1], [state() for _ in range(count)])
    assert starts == [0, 16, 32, 0, 16]


@given(st.integers(1, 5000), st.integers(1, 70), st.integers(0, 10**7), st.sampled_from([1, 2, 64, 256]))
def test_what_fits_into_its_bytes(row: int, most: int, limit: int, step: int) -> None:
    found = sizes([StatePair("h", "h", "g", "UINT8", (1, row))], most, limit, step)
    if found is None:
        assert limit < 5 * row
        return
    assert 1 <= found.most <= most
    assert found.most <= found.slots <= found.staged, "each run has room in the ring"
    assert found.staged % step == 0
    assert found.size == (found.staged + SPARE * found.most) * row
    assert found.size <= limit or found.slots < step
