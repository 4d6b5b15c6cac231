"""What becomes of sessions while their steps go by the journal: it holds, folded or not, whenever a process dies."""

import enum
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mooring_runtime.sessions import records
from mooring_runtime.sessions.changes import change_of
from mooring_runtime.sessions.copies import HERE_BYTES, Kept, Phase, Target
from mooring_runtime.sessions.entries import Entry
from mooring_runtime.sessions.journal import Journaling
from mooring_runtime.sessions.keys import Key
from mooring_runtime.sessions.store import Change
from tests.support.record_volume import MANY, Undone, Volume, stepped, undo
from tests.support.stores import change, kept, key, noise, shown

SESSIONS = 12


@pytest.fixture
def volume(tmp_path: Path) -> Iterator[Volume]:
    """With journals that several commits fold."""
    made = Volume(tmp_path, Journaling(leaves=1, size=4000))
    yield made
    made.environment.close()


def _one_that_is_folded(volume: Volume) -> Key:
    """A session whose record stands where it belongs, while its entry is still on disk."""
    volume.put(*(change(1, number) for number in range(SESSIONS)))
    number = 0
    while not volume.journal.folding:
        volume.put(stepped(2, number), leaves=MANY)
        number += 1
    volume.put(stepped(2, number), leaves=MANY)
    return next(key(each) for each in range(number) if records.pending(volume.journal, key(each)) is None)


def _end(volume: Volume, which: Key) -> None:
    volume.put(Change(which, None), leaves=MANY)


def _leave(volume: Volume, which: Key) -> None:
    copy = volume.read(which).copy
    volume.put(Change(which, copy._replace(phase=Phase.MOVING, to=Target(1, "other"))), leaves=MANY)


def _grow(volume: Volume, which: Key) -> None:
    volume.put(change(3, 0, tensors=noise(HERE_BYTES + 1))._replace(key=which), leaves=MANY)


def _go_on_where_few_are(volume: Volume, which: Key) -> None:
    volume.put(stepped(3)._replace(key=which))


def _set_aside(volume: Volume, which: Key) -> None:
    with volume.group() as (txn, group):
        records.set_aside(txn, volume.databases, which, "torn", group)


def _rewind(volume: Volume, which: Key) -> None:
    with volume.group() as (txn, group):
        records.rewind(txn, volume.databases, which, group)


@pytest.mark.parametrize("happens", [_end, _leave, _grow, _go_on_where_few_are, _set_aside, _rewind])
def test_what_becomes_of_a_session_after_its_fold_holds_after_a_kill(
    volume: Volume, happens: Callable[[Volume, Key], None]
) -> None:
    """Its entry is on disk until all of the journal is folded, and must not come back as its last step."""
    which = _one_that_is_folded(volume)
    happens(volume, which)
    assert volume.journal.folding
    found = volume.listed()
    with volume.dead():
        assert volume.listed() == found
    while volume.journal.folding:
        volume.put(stepped(4, "other"), leaves=MANY)
    volume.restart()
    assert volume.listed() == {**found, key("other"): change(4, "other").copy}


# --- anything, in any order


class Do(enum.Enum):
    """What may happen."""

    STEP = "a step"
    LARGE = "a step that leaves a large state"
    MARK = "a change of the copy alone"
    DELETE = "the session goes"
    FAIL = "a step whose commit fails"
    FEW = "a step where there are few sessions"
    TWICE = "two steps of one commit"
    NO_FOLD = "a step whose commit folds nothing"
    ALL = "a step of each session, in one commit that folds nothing"
    KILL = "the process dies"


class Sessions:
    """What there is to be, and the changes that lead there, as the table makes them."""

    def __init__(self, volume: Volume) -> None:
        self._volume = volume
        self._entries = {number: Entry(key(number), None) for number in range(SESSIONS)}

    def do(self, what: Do, number: int, step: int) -> None:
        """One thing."""
        entry = self._entries[number]
        if what is Do.KILL:
            self._volume.restart()
        elif what is Do.DELETE:
            self._volume.put(Change(entry.key, None), leaves=MANY)
            self._set(entry, None)
        elif what is Do.MARK and entry.copy is not None:
            marked = Kept(entry.copy._replace(last_used=step), entry.state, entry.replies)
            self._volume.put(Change(entry.key, marked.copy), leaves=MANY)
            self._set(entry, marked)
        else:
            self._step(what, range(SESSIONS) if what is Do.ALL else (number,), step)

    def _step(self, what: Do, numbers: Iterable[int], step: int) -> None:
        entries = [self._entries[number] for number in numbers]
        before = [None if entry.copy is None else Kept(entry.copy, entry.state, entry.replies) for entry in entries]
        changes = []
        for each in (step, step + 1) if what is Do.TWICE else (step,):
            made = kept(change(each, tensors=noise(HERE_BYTES + 1) if what is Do.LARGE else None))
            for entry in entries:
                changes.append(change_of(entry, made, True))
                self._set(entry, made)
        try:
            with self._volume.group(0 if what is Do.FEW else MANY) as (txn, group):
                records.put(txn, self._volume.databases, changes, group)
                if what not in {Do.NO_FOLD, Do.ALL}:
                    group.fold(len(changes))
                if what is Do.FAIL:
                    group.write()
                    undo()
        except Undone:
            for entry, was in zip(entries, before, strict=True):
                self._set(entry, was)

    @staticmethod
    def _set(entry: Entry, made: Kept | None) -> None:
        entry.copy, entry.state, entry.replies = (None, (), ()) if made is None else made
        entry.read = True

    def check(self) -> None:
        """All of them are there, and nothing else is."""
        there = {entry.key: entry for entry in self._entries.values() if entry.copy is not None}
        assert self._volume.listed() == {which: entry.copy for which, entry in there.items()}
        for which, entry in there.items():
            assert entry.copy is not None
            assert shown(self._volume.read(which)) == shown(Kept(entry.copy, entry.state, entry.replies))


_MOSTLY_STEPS = st.sampled_from([*Do, *[Do.STEP] * 6])


@given(st.lists(st.tuples(_MOSTLY_STEPS, st.integers(0, SESSIONS - 1)), min_size=30, max_size=80))
@settings(max_examples=10, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_whatever_happens_the_last_step_of_each_session_is_read(volume: Volume, happens: list[tuple[Do, int]]) -> None:
    volume.put(*(Change(key(number), None) for number in range(SESSIONS)))
    sessions = Sessions(volume)
    for step, (what, number) in enumerate(happens):
        sessions.do(what, number, 2 * step + 1)
        sessions.check()
        if what not in {Do.STEP, Do.KILL}:
            with volume.dead():  # For the next process it is the same, if this one is killed now.
                sessions.check()
    volume.restart()
    sessions.check()
