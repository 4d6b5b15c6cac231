"""Where the records of a session stand: small ones together, large ones apart, and nothing stays behind of either."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mooring_runtime.sessions import records
from mooring_runtime.sessions.changes import change_of
from mooring_runtime.sessions.copies import HERE_BYTES, Kept, StoredReply, kept_replies
from mooring_runtime.sessions.entries import Entry
from mooring_runtime.sessions.store import Change, Corrupt
from tests.support.record_volume import Volume
from tests.support.stores import change, key, large_replies, noise, reply, shown, state


@pytest.fixture
def volume(tmp_path: Path) -> Iterator[Volume]:
    made = Volume(tmp_path)
    yield made
    made.environment.close()


def test_all_of_a_small_session_is_one_record(volume: Volume) -> None:
    volume.put(change(5), change(5, 2))
    assert volume.tags() == ["c"]
    assert shown(volume.read()) == shown(Kept(*change(5)[1:4]))  # type: ignore[arg-type]


def test_a_large_state_and_large_replies_have_records_of_their_own(volume: Volume) -> None:
    volume.put(change(5, tensors=noise(HERE_BYTES + 1)))
    assert volume.tags() == ["c", "s"]
    volume.put(change(5)._replace(replies=large_replies(5)))
    assert volume.tags() == ["c", "r0", "r1", "r2", "r3"]
    volume.put(change(6))
    assert volume.tags() == ["c"]


def test_what_is_only_marked_keeps_its_state_and_its_replies(volume: Volume) -> None:
    for tensors in (state(3), noise(HERE_BYTES + 1)):
        for replies in ((reply(3),), large_replies(3)):
            made = change(3, tensors=tensors)._replace(replies=replies)
            marked = made.copy._replace(last_used=99) if made.copy is not None else None
            volume.put(made)
            volume.put(Change(key(), marked))
            assert shown(volume.read()) == shown(Kept(marked, tensors, replies))  # type: ignore[arg-type]


def test_a_change_in_place_reads_nothing_and_says_everything(volume: Volume) -> None:
    volume.put(change(3))
    with volume.environment.begin(write=True, db=volume.databases.sessions) as txn:
        txn.put(records.prefix_of(key()) + b"c", b"torn")
    with pytest.raises(Corrupt):
        volume.put(Change(key(), change(3).copy))
    volume.put(change(4)._replace(in_place=True))
    assert shown(volume.read()) == shown(Kept(*change(4)[1:4]))  # type: ignore[arg-type]


_SIZES = st.sampled_from((0, 1, HERE_BYTES, HERE_BYTES + 1, 5000))


@given(
    st.lists(st.tuples(_SIZES, st.sampled_from((1, 300, HERE_BYTES + 1)), st.booleans(), st.booleans()), max_size=12)
)
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_sessions_that_grow_and_shrink_come_back_as_they_were(
    volume: Volume, steps: list[tuple[int, int, bool, bool]]
) -> None:
    """Through the changes that the table makes of steps; of some there are several in a group, and some are of sessions
    whose state and replies are not in memory.
    """
    volume.put(Change(key(), None))
    entry, waiting = Entry(key(), None), []
    for number, (size, reply_size, alone, forgotten) in enumerate(steps, 1):
        if forgotten:
            entry.forget()
        made = change(number, tensors=noise(size) if size else ())
        assert made.copy is not None
        stored = StoredReply(number, b"%16d" % number, noise(reply_size))
        kept = Kept(made.copy, made.state or (), kept_replies(entry.replies, stored))
        waiting.append(change_of(entry, kept, True))
        entry.copy, entry.state, entry.replies = kept
        entry.read = True
        if alone or number == len(steps):
            volume.put(*waiting)
            waiting.clear()
            assert shown(volume.read()) == shown(kept)
            apart = ["r"] * len(kept.replies) if sum(each.size for each in kept.replies) > HERE_BYTES else []
            found = [tag[0] for tag in volume.tags()]
            assert found == ["c", *apart, *(["s"] if size > HERE_BYTES else [])]
