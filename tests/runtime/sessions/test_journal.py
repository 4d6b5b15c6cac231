"""The journal: who reads sees the last step of each session, whatever is folded, and whenever a process dies."""

import enum
from collections.abc import Callable, Iterator
from contextlib import suppress
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
from mooring_runtime.sessions.store import Change, Corrupt
from tests.support.record_volume import Volume
from tests.support.stores import change, kept, key, noise, shown

SMALL = Journaling(leaves=1, size=1500)
"""Some four steps to a journal."""
MANY = 1
"""Leaves with which steps go to it."""
MANY_SESSIONS = 12


class Undone(Exception):  # noqa: N818 - named by what happens
    """A transaction that is given up."""


def _undo() -> None:
    raise Undone


@pytest.fixture
def volume(tmp_path: Path) -> Iterator[Volume]:
    made = Volume(tmp_path, SMALL)
    yield made
    made.environment.close()


@pytest.fixture
def longer(tmp_path: Path) -> Iterator[Volume]:
    """With journals that several commits fold."""
    made = Volume(tmp_path, Journaling(leaves=1, size=4000))
    yield made
    made.environment.close()


def _step(step: int, number: int | str = 1) -> Change:
    """A step of a small session that is there."""
    return change(step, number)._replace(in_place=True)


def _entries(volume: Volume) -> list[int]:
    """How many there are in each journal, on disk."""
    return [len(volume.names(journal)) for journal in volume.journals]


def test_steps_go_to_the_journal_and_are_read_there_also_by_the_next_process(volume: Volume) -> None:
    volume.put(change(1), change(1, 2))
    volume.put(_step(2), leaves=MANY)
    for _ in range(2):
        assert _entries(volume) == [1, 0]
        assert shown(volume.read()) == shown(kept(change(2)))
        assert volume.listed() == {key(): change(2).copy, key(2): change(1, 2).copy}
        volume.restart()


def test_few_sessions_and_large_ones_go_where_they_belong(volume: Volume) -> None:
    large = change(2, 2, tensors=noise(HERE_BYTES + 1))
    volume.put(change(1), large)
    volume.put(_step(2))
    volume.put(large._replace(in_place=True), leaves=MANY)
    assert _entries(volume) == [0, 0]


def test_a_name_that_is_too_long_for_a_key_of_the_journal_goes_where_it_belongs(volume: Volume) -> None:
    for longest, there in ((499, 1), (500, 1)):
        made = _step(1, "x" * (longest - len("echo.session-.c")))
        assert len(records.prefix_of(made.key)) + 1 == longest
        volume.put(made, leaves=MANY)
        assert _entries(volume) == [there, 0]
        assert shown(volume.read(made.key)) == shown(kept(made))


def test_a_full_journal_is_folded_and_dropped(volume: Volume) -> None:
    volume.put(*(change(1, number) for number in range(8)))
    for number in range(8):
        volume.put(_step(2, number), leaves=MANY)
    assert volume.journal.number == 9
    assert sum(_entries(volume)) < 8, "one was dropped"
    for step in range(3, 40):
        for number in range(8):
            volume.put(_step(step, number), leaves=MANY)
            assert sum(_entries(volume)) < 16, "each is dropped before the next is full"
    volume.restart()
    for number in range(8):
        assert shown(volume.read(key(number))) == shown(kept(change(39, number)))


def test_what_is_folded_is_what_is_newest(volume: Volume) -> None:
    """A session that is in both journals is not put where it belongs out of the older one after the newer one."""
    volume.put(*(change(1, number) for number in range(5)))
    for number in range(5):
        volume.put(_step(2, number), leaves=MANY)
    assert volume.journal.folding
    with volume.group() as (txn, group):
        records.put(txn, volume.databases, [change(9, 4)], group)  # It goes where it belongs, before it is folded.
    while volume.journal.folding:
        volume.put(_step(3, 3), leaves=MANY)
    for _ in range(2):
        assert shown(volume.read(key(4))) == shown(kept(change(9, 4)))
        assert shown(volume.read(key(3))) == shown(kept(change(3, 3)))
        volume.restart()


def test_a_journal_that_cannot_be_folded_takes_no_more_at_twice_its_size(volume: Volume) -> None:
    volume.put(*(change(1, number) for number in range(8)))
    for step in range(2, 10):
        for number in range(8):
            with volume.group(MANY) as (txn, group):
                records.put(txn, volume.databases, [_step(step, number)], group)
            assert shown(volume.read(key(number))) == shown(kept(change(step, number)))
    assert volume.journal.folding
    assert volume.journal.size < 3 * SMALL.size
    volume.restart()
    assert {copy.step for copy in volume.listed().values()} == {9}


def test_a_commit_of_nothing_folds_nothing(volume: Volume) -> None:
    """On a full disk it has no room for that, and must be possible."""
    volume.put(*(change(1, number) for number in range(5)))
    for number in range(5):
        volume.put(_step(2, number), leaves=MANY)
    assert volume.journal.folding
    with suppress(Undone), volume.group() as (_, group):
        group.fold(1)
        _undo()
    left, part = len(volume.journal.left), list(volume.journal.part)
    assert part
    volume.put()
    assert (len(volume.journal.left), volume.journal.part) == (left, part)


def test_each_process_knows_which_journal_is_the_older_one(volume: Volume) -> None:
    volume.put(*(change(1, number) for number in range(8)))
    filled = set()
    for step in range(2, 12):
        for number in range(8):
            volume.put(_step(step, number), leaves=MANY)
            journal, again = volume.journal, volume.loaded()
            assert again.number == journal.number
            if 0 not in _entries(volume):
                assert (again.filled, again.newer) == (journal.filled, journal.newer)
                filled.add(again.filled)
    assert filled == {0, 1}


def test_a_session_that_is_to_be_told_of_lost_steps_goes_on_from_its_step_in_the_journal(volume: Volume) -> None:
    volume.put(change(1))
    volume.put(_step(2), leaves=MANY)
    with volume.group() as (txn, group):
        records.rewind(txn, volume.databases, key(), group)
    for _ in range(2):
        found = volume.read()
        assert (found.copy.step, found.copy.rewound) == (2, True)
        volume.restart()


def test_a_session_of_which_only_the_journal_has_a_record_is_listed(volume: Volume) -> None:
    volume.put(_step(3), leaves=MANY)
    assert volume.tags() == []
    assert volume.listed() == {key(): change(3).copy}


def _one_that_is_folded(volume: Volume) -> Key:
    """A session whose record stands where it belongs, while its entry is still on disk."""
    volume.put(*(change(1, number) for number in range(MANY_SESSIONS)))
    number = 0
    while not volume.journal.folding:
        volume.put(_step(2, number), leaves=MANY)
        number += 1
    volume.put(_step(2, number), leaves=MANY)
    return next(key(each) for each in range(number) if records.pending(volume.journal, key(each)) is None)


def _end(volume: Volume, which: Key) -> None:
    volume.put(Change(which, None), leaves=MANY)


def _leave(volume: Volume, which: Key) -> None:
    copy = volume.read(which).copy
    volume.put(Change(which, copy._replace(phase=Phase.MOVING, to=Target(1, "other"))), leaves=MANY)


def _grow(volume: Volume, which: Key) -> None:
    volume.put(change(3, 0, tensors=noise(HERE_BYTES + 1))._replace(key=which), leaves=MANY)


def _go_on_where_few_are(volume: Volume, which: Key) -> None:
    volume.put(_step(3)._replace(key=which))


def _set_aside(volume: Volume, which: Key) -> None:
    with volume.group() as (txn, group):
        records.set_aside(txn, volume.databases, which, "torn", group)


def _rewind(volume: Volume, which: Key) -> None:
    with volume.group() as (txn, group):
        records.rewind(txn, volume.databases, which, group)


@pytest.mark.parametrize("happens", [_end, _leave, _grow, _go_on_where_few_are, _set_aside, _rewind])
def test_what_becomes_of_a_session_after_its_fold_holds_after_a_kill(
    longer: Volume, happens: Callable[[Volume, Key], None]
) -> None:
    """Its entry is on disk until all of the journal is folded, and must not come back as its last step."""
    which = _one_that_is_folded(longer)
    happens(longer, which)
    assert longer.journal.folding
    found = longer.listed()
    with longer.dead():
        assert longer.listed() == found
    while longer.journal.folding:
        longer.put(_step(4, "other"), leaves=MANY)
    longer.restart()
    assert longer.listed() == {**found, key("other"): change(4, "other").copy}


# --- what is torn


def test_a_torn_record_is_found_as_one_that_stands_where_it_belongs(volume: Volume) -> None:
    volume.put(change(1), change(1, 2))
    volume.put(_step(2), _step(2, 2), leaves=MANY)
    volume.change(volume.journals[0], 0, lambda name, value: (name, value[:-1] + bytes((value[-1] ^ 1,))))
    volume.restart()
    with pytest.raises(Corrupt, match="checksum of its copy"):
        volume.read()
    assert shown(volume.read(key(2))) == shown(kept(change(2, 2)))
    with volume.group() as (txn, group):
        records.set_aside(txn, volume.databases, key(), "torn", group)
    for _ in range(2):
        with pytest.raises(KeyError):  # Step 1 is still whole where it belongs, and must not be served for step 2.
            volume.read()
        assert volume.listed() == {key(2): change(2, 2).copy}
        assert [name[-1:] for name in volume.names(volume.databases.quarantine)] == [b"?", b"c"]
        volume.restart()


@pytest.mark.parametrize("at", [3, 12, -1])
def test_an_entry_whose_name_is_torn_could_be_a_step_of_anybody(volume: Volume, at: int) -> None:
    volume.put(change(1))
    volume.put(_step(2), leaves=MANY)

    def tear(name: bytes, value: bytes) -> tuple[bytes, bytes]:
        torn = bytearray(name)
        torn[at] ^= 1
        return bytes(torn), value

    volume.change(volume.journals[0], 0, tear)
    with pytest.raises(Corrupt, match="an entry of its journal, after 0 others, has a name with a wrong checksum"):
        volume.restart()


def test_an_entry_that_is_missing_could_be_a_step_of_anybody(volume: Volume) -> None:
    volume.put(change(1))
    for step in range(2, 5):
        volume.put(_step(step), leaves=MANY)
    volume.change(volume.journals[0], 1, lambda name, value: (b"", b""))
    with pytest.raises(Corrupt, match="entries 2 to 2 of its journal are missing"):
        volume.restart()


def test_an_entry_that_is_missing_at_the_end_of_the_older_journal_is_missed(volume: Volume) -> None:
    volume.put(*(change(1, number) for number in range(6)))
    number = 0
    while 0 in _entries(volume):
        with volume.group(MANY) as (txn, group):
            records.put(txn, volume.databases, [_step(2, number)], group)
        number += 1
    last = _entries(volume)[0]
    volume.change(volume.journals[0], -1, lambda name, value: (b"", b""))
    with pytest.raises(Corrupt, match=f"entries {last} to {last} of its journal are missing"):
        volume.restart()


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
    KILL = "the process dies"


class Sessions:
    """What there is to be, and the changes that lead there, as the table makes them."""

    def __init__(self, volume: Volume) -> None:
        self._volume = volume
        self._entries = {number: Entry(key(number), None) for number in range(MANY_SESSIONS)}

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
            self._step(what, entry, number, step)

    def _step(self, what: Do, entry: Entry, number: int, step: int) -> None:
        before = None if entry.copy is None else Kept(entry.copy, entry.state, entry.replies)
        changes = []
        for each in (step, step + 1) if what is Do.TWICE else (step,):
            made = kept(change(each, number, tensors=noise(HERE_BYTES + 1) if what is Do.LARGE else None))
            changes.append(change_of(entry, made, True))
            self._set(entry, made)
        try:
            with self._volume.group(0 if what is Do.FEW else MANY) as (txn, group):
                records.put(txn, self._volume.databases, changes, group)
                if what is not Do.NO_FOLD:
                    group.fold(len(changes))
                if what is Do.FAIL:
                    group.write()
                    _undo()
        except Undone:
            self._set(entry, before)

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


_MOSTLY_STEPS = st.sampled_from([*Do, *[Do.STEP] * 12])


@given(st.lists(st.tuples(_MOSTLY_STEPS, st.integers(0, MANY_SESSIONS - 1)), min_size=30, max_size=80))
@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_whatever_happens_the_last_step_of_each_session_is_read(longer: Volume, happens: list[tuple[Do, int]]) -> None:
    longer.put(*(Change(key(number), None) for number in range(MANY_SESSIONS)))
    sessions = Sessions(longer)
    for step, (what, number) in enumerate(happens):
        sessions.do(what, number, 2 * step + 1)
        sessions.check()
        if what is not Do.STEP:
            with longer.dead():  # For the next process it is the same, if this one is killed now.
                sessions.check()
    longer.restart()
    sessions.check()
