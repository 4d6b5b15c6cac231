"""The journal: who reads sees the last step of each session, whatever is folded, and whenever a process dies."""

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from mooring_runtime.sessions import records
from mooring_runtime.sessions.copies import HERE_BYTES
from mooring_runtime.sessions.journal import Journaling
from mooring_runtime.sessions.store import Corrupt
from tests.support.record_volume import MANY, Undone, Volume, stepped, undo
from tests.support.stores import change, kept, key, noise, shown

SMALL = Journaling(leaves=1, size=1500)
"""Some four steps to a journal."""


@pytest.fixture
def volume(tmp_path: Path) -> Iterator[Volume]:
    made = Volume(tmp_path, SMALL)
    yield made
    made.environment.close()


def _entries(volume: Volume) -> list[int]:
    """How many there are in each journal, on disk."""
    return [len(volume.names(journal)) for journal in volume.journals]


def test_steps_go_to_the_journal_and_are_read_there_also_by_the_next_process(volume: Volume) -> None:
    volume.put(change(1), change(1, 2))
    volume.put(stepped(2), leaves=MANY)
    for _ in range(2):
        assert _entries(volume) == [1, 0]
        assert shown(volume.read()) == shown(kept(change(2)))
        assert volume.listed() == {key(): change(2).copy, key(2): change(1, 2).copy}
        volume.restart()


def test_few_sessions_and_large_ones_go_where_they_belong(volume: Volume) -> None:
    large = change(2, 2, tensors=noise(HERE_BYTES + 1))
    volume.put(change(1), large)
    volume.put(stepped(2))
    volume.put(large._replace(in_place=True), leaves=MANY)
    assert _entries(volume) == [0, 0]


def test_a_name_that_is_too_long_for_a_key_of_the_journal_goes_where_it_belongs(volume: Volume) -> None:
    for longest, there in ((499, 1), (500, 1)):
        made = stepped(1, "x" * (longest - len("echo.session-.c")))
        assert len(records.prefix_of(made.key)) + 1 == longest
        volume.put(made, leaves=MANY)
        assert _entries(volume) == [there, 0]
        assert shown(volume.read(made.key)) == shown(kept(made))


def test_a_full_journal_is_folded_and_dropped(volume: Volume) -> None:
    volume.put(*(change(1, number) for number in range(8)))
    for number in range(8):
        volume.put(stepped(2, number), leaves=MANY)
    assert volume.journal.number == 9
    assert sum(_entries(volume)) < 8, "one was dropped"
    for step in range(3, 40):
        for number in range(8):
            volume.put(stepped(step, number), leaves=MANY)
            assert sum(_entries(volume)) < 16, "each is dropped before the next is full"
    volume.restart()
    for number in range(8):
        assert shown(volume.read(key(number))) == shown(kept(change(39, number)))


def test_what_is_folded_is_what_is_newest(volume: Volume) -> None:
    """A session that is in both journals is not put where it belongs out of the older one after the newer one."""
    volume.put(*(change(1, number) for number in range(5)))
    for number in range(5):
        volume.put(stepped(2, number), leaves=MANY)
    assert volume.journal.folding
    with volume.group() as (txn, group):
        records.put(txn, volume.databases, [change(9, 4)], group)  # It goes where it belongs, before it is folded.
    while volume.journal.folding:
        volume.put(stepped(3, 3), leaves=MANY)
    for _ in range(2):
        assert shown(volume.read(key(4))) == shown(kept(change(9, 4)))
        assert shown(volume.read(key(3))) == shown(kept(change(3, 3)))
        volume.restart()


def test_a_journal_that_cannot_be_folded_takes_no_more_at_twice_its_size(volume: Volume) -> None:
    volume.put(*(change(1, number) for number in range(8)))
    for step in range(2, 10):
        for number in range(8):
            with volume.group(MANY) as (txn, group):
                records.put(txn, volume.databases, [stepped(step, number)], group)
            assert shown(volume.read(key(number))) == shown(kept(change(step, number)))
    assert volume.journal.folding
    assert volume.journal.size < 3 * SMALL.size
    volume.restart()
    assert {copy.step for copy in volume.listed().values()} == {9}


def test_a_commit_of_nothing_folds_nothing(volume: Volume) -> None:
    """On a full disk it has no room for that, and must be possible."""
    volume.put(*(change(1, number) for number in range(5)))
    for number in range(5):
        volume.put(stepped(2, number), leaves=MANY)
    assert volume.journal.folding
    with suppress(Undone), volume.group() as (_, group):
        group.fold(1)
        undo()
    left, part = len(volume.journal.left), list(volume.journal.part)
    assert part
    volume.put()
    assert (len(volume.journal.left), volume.journal.part) == (left, part)


def test_what_a_large_commit_could_not_fold_is_not_left_to_a_small_one(volume: Volume) -> None:
    """The room for it was not asked for."""
    volume.put(*(change(1, number) for number in range(9)))
    with volume.group(MANY) as (txn, group):
        records.put(txn, volume.databases, [stepped(2, number) for number in range(9)], group)
    for changes, left in ((9, 0), (1, 6)):
        with suppress(Undone), volume.group() as (_, group):
            group.fold(changes)
            undo()
        assert len(volume.journal.left) == left
    while volume.journal.folding:
        volume.put(change(1))
    volume.restart()
    assert {which: copy.step for which, copy in volume.listed().items()} == {
        key(number): 1 if number == 1 else 2 for number in range(9)
    }


def test_an_entry_that_does_not_belong_at_the_end_is_no_step_that_is_kept(volume: Volume) -> None:
    volume.put(change(1))
    volume.put(stepped(2), leaves=MANY)
    volume.journal.number = 1
    with pytest.raises(RuntimeError, match="1 entries of the journal from 1 on: it has later ones already"):
        volume.put(stepped(3), leaves=MANY)
    assert volume.read().copy.step == 2
    with volume.dead():
        assert volume.read().copy.step == 2


def test_each_process_knows_which_journal_is_the_older_one(volume: Volume) -> None:
    volume.put(*(change(1, number) for number in range(8)))
    filled = set()
    for step in range(2, 12):
        for number in range(8):
            volume.put(stepped(step, number), leaves=MANY)
            journal, again = volume.journal, volume.loaded()
            assert again.number == journal.number
            if 0 not in _entries(volume):
                assert (again.filled, again.newer) == (journal.filled, journal.newer)
                filled.add(again.filled)
    assert filled == {0, 1}


def test_a_session_that_is_to_be_told_of_lost_steps_goes_on_from_its_step_in_the_journal(volume: Volume) -> None:
    volume.put(change(1))
    volume.put(stepped(2), leaves=MANY)
    with volume.group() as (txn, group):
        records.rewind(txn, volume.databases, key(), group)
    for _ in range(2):
        found = volume.read()
        assert (found.copy.step, found.copy.rewound) == (2, True)
        volume.restart()


def test_a_session_of_which_only_the_journal_has_a_record_is_listed(volume: Volume) -> None:
    volume.put(stepped(3), leaves=MANY)
    assert volume.tags() == []
    assert volume.listed() == {key(): change(3).copy}


# --- what is torn


def test_a_torn_record_is_found_as_one_that_stands_where_it_belongs(volume: Volume) -> None:
    volume.put(change(1), change(1, 2))
    volume.put(stepped(2), stepped(2, 2), leaves=MANY)
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
    volume.put(stepped(2), leaves=MANY)

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
        volume.put(stepped(step), leaves=MANY)
    volume.change(volume.journals[0], 1, lambda name, value: (b"", b""))
    with pytest.raises(Corrupt, match="entries 2 to 2 of its journal are missing"):
        volume.restart()


def test_an_entry_that_is_missing_at_the_end_of_the_older_journal_is_missed(volume: Volume) -> None:
    volume.put(*(change(1, number) for number in range(6)))
    number = 0
    while 0 in _entries(volume):
        with volume.group(MANY) as (txn, group):
            records.put(txn, volume.databases, [stepped(2, number)], group)
        number += 1
    last = _entries(volume)[0]
    volume.change(volume.journals[0], -1, lambda name, value: (b"", b""))
    with pytest.raises(Corrupt, match=f"entries {last} to {last} of its journal are missing"):
        volume.restart()
