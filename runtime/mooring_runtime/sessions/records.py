"""Where the records of a session stand in the database, and how a change is put there: within one transaction of LMDB.

    sessions     MODEL 00 SESSION 00 c     the copy, and with it what is small of the rest, see `encoding.CopyRecord`
                 MODEL 00 SESSION 00 r0    a stored reply of a session whose replies are large; up to r3, in the slot
                                           that the copy tells
                 MODEL 00 SESSION 00 s     a state that is large
    quarantine   the same names for what was set aside, and ... 00 ? for why
    meta         store  id and format as JSON, boot  8 bytes, clean  0 or 1, record  the membership record,
                 lazy   0 or 1, doubt  8 bytes, see `LmdbReader.doubt`
    journal 0, 1 copies of small sessions that are not where they belong yet, see `journal`

A step of a small session writes one record, and reads none: it says all that is to be there. The records of one session
stand beside each other, so that a step changes one leaf of the tree and not three: a commit of 32 steps among 10,000
sessions writes 62 pages instead of 130 with states of 256 bytes, 89 instead of 147 with 4 KiB (measured, against
databases of their own for copies, replies and states). A new reply of its own takes the slot of the one that falls out,
in place. To list all copies one jumps from `c` to `c` and never touches the pages of a large state.
"""

import json
import time
from collections.abc import Callable, Sequence
from operator import itemgetter
from typing import TYPE_CHECKING, NamedTuple

from mooring_runtime.sessions.copies import (
    HERE_BYTES,
    KEPT_REPLIES,
    Copy,
    Kept,
    Phase,
    State,
    StoredReply,
    apart,
)
from mooring_runtime.sessions.encoding import (
    NO_SLOTS,
    CopyRecord,
    Slots,
    decode_copy,
    decode_replies,
    decode_reply,
    decode_state,
    encode_copy,
    encode_replies,
    encode_reply,
    encode_state,
    split,
)
from mooring_runtime.sessions.journal import Group, Item, Journal
from mooring_runtime.sessions.keys import Key
from mooring_runtime.sessions.store import Change, Corrupt
from mooring_runtime.sessions.tensors import decode_tensors, encode_tensors

if TYPE_CHECKING:
    import lmdb

    Writing = lmdb.Transaction[bytes]
    Reading = lmdb.Transaction[memoryview]
    Database = lmdb._Database

_COPY, _REPLY, _STATE, _WHY = b"c", b"r", b"s", b"?"
_REPLIES = [_REPLY + b"%d" % slot for slot in range(KEPT_REPLIES)]
_AFTER = b"\xff"
"""Sorts behind every record of a session."""
_new = tuple.__new__
"""Makes a named tuple in half the time that its constructor takes."""


class Databases(NamedTuple):
    """The handles of one environment."""

    meta: "Database"
    sessions: "Database"
    quarantine: "Database"


def prefix_of(key: Key) -> bytes:
    """What the names of a session's records begin with."""
    return key.encoded() + b"\x00"


# --- writing


def put(txn: "Writing", databases: Databases, changes: Sequence[Change], group: Group) -> None:
    """Put changes into a transaction, in their order. Raises lmdb.Error, ValueError for what cannot be encoded, and
    Corrupt.
    """
    items: list[Item] = []
    for change in changes:
        if change.in_place:
            found = _encode(change)
            if not group.takes(found):
                items += found
        else:
            _put_items(txn, databases.sessions, items)
            group.settle(prefix_of(change.key) + _COPY)
            _apply(txn, databases, change)
    _put_items(txn, databases.sessions, items)


def _encode(change: Change) -> list[Item]:
    """The records of a change that says everything, and changes nothing about where it stands."""
    (model, session), copy, state, replies, _ = change
    assert copy is not None
    assert state is not None
    assert replies is not None
    name = b"%b\x00%b\x00c" % (model.encode(), session.encode())
    items: list[Item] = []
    checksum, tail = None, b""
    if copy.size > HERE_BYTES:
        data, checksum, tail = _apart(name[:-1] + _STATE, state)
        items.append((name[:-1] + _STATE, data))
    elif state:
        tail = encode_tensors(state)
    items.append((name, encode_copy(name, _new(CopyRecord, (copy, checksum, tail, encode_replies(replies), None)))))
    return items


def _put_items(txn: "Writing", sessions: "Database", items: list[Item]) -> None:
    """One call for many: each call lets other threads have the interpreter, and waits until they give it back. In the
    order of their names, for what stands beside each other is found at once.
    """
    if items:
        items.sort(key=_FIRST)
        with txn.cursor(db=sessions) as cursor:
            cursor.putmulti(items)
        items.clear()


_FIRST = itemgetter(0)


def _apart(name: bytes, state: State) -> tuple[bytes, int, bytes]:
    """(the state's own record, its checksum, its end that goes into the copy)."""
    data, checksum = encode_state(name, state)
    data, rest = split(data)
    return data, checksum, rest


def _apply(txn: "Writing", databases: Databases, change: Change) -> None:
    key, copy, state, replies, _ = change
    prefix = prefix_of(key)
    sessions = databases.sessions
    if copy is None:
        erase(txn, sessions, prefix)
        erase(txn, databases.quarantine, prefix)
        return
    if copy.phase is Phase.MOVED:
        erase(txn, databases.quarantine, prefix)  # What was set aside was dropped, see `dropping`.
    old = _there(txn, sessions, prefix, change)
    _, checksum, tail, stored, slots = old
    if state is not None:
        checksum, tail = None, b""
        if copy.size > HERE_BYTES:
            data, checksum, tail = _apart(prefix + _STATE, state)
            txn.put(prefix + _STATE, data, db=sessions)
        elif state:
            tail = encode_tensors(state)
        if checksum is None and old.state is not None:
            txn.delete(prefix + _STATE, db=sessions)
    if replies is not None:
        stored, slots = b"", None
        known = NO_SLOTS if old.slots is None else old.slots
        if apart(copy, replies)[1]:
            same = old.copy.incarnation == copy.incarnation
            slots = _put_replies(txn, sessions, prefix, replies, known if same else NO_SLOTS)
        else:
            stored = encode_replies(replies)
        for slot in range(KEPT_REPLIES):
            if known[slot] and not (slots and slots[slot]):
                txn.delete(prefix + _REPLIES[slot], db=sessions)
    name = prefix + _COPY
    txn.put(name, encode_copy(name, CopyRecord(copy, checksum, tail, stored, slots)), db=sessions)


def _put_replies(
    txn: "Writing", sessions: "Database", prefix: bytes, replies: tuple[StoredReply, ...], known: Slots
) -> Slots:
    """Give each reply a record of its own; those in `known` are there."""
    slots = slots_for(known, [reply.step for reply in replies])
    for reply in replies:
        slot = slots.index(reply.step)
        if known[slot] != reply.step:
            name = prefix + _REPLIES[slot]
            txn.put(name, encode_reply(name, reply), db=sessions)
    return slots


_NONE = CopyRecord(Copy(Phase.HELD, 0))
"""What stands where nothing does."""


def _there(txn: "Writing", sessions: "Database", prefix: bytes, change: Change) -> CopyRecord:
    """What a change replaces."""
    data = txn.get(prefix + _COPY, db=sessions)
    if data is None:
        return _NONE
    try:
        return decode_copy(prefix + _COPY, data)
    except Corrupt:
        # Whoever writes has read the session before, so it went bad since. What a change leaves as it is would be lost
        # without a word; one that says everything may take its place.
        if change.state is None or change.replies is None:
            raise
        erase(txn, sessions, prefix)
        return _NONE


def slots_for(known: Slots, steps: list[int]) -> Slots:
    """Where the replies to `steps` go: those that are there stay, a new one takes a slot that nobody needs. Pure.

    Raises ValueError for more than KEPT_REPLIES.
    """
    if len(steps) > KEPT_REPLIES:
        raise ValueError(f"a session keeps at most {KEPT_REPLIES} replies, not {len(steps)}")
    slots = [step if step in steps else 0 for step in known]
    for step in steps:
        if step not in slots:
            slots[slots.index(0)] = step
    return tuple(slots)


def erase(txn: "Writing", database: "Database", prefix: bytes) -> None:
    """Delete every record whose name begins with `prefix`."""
    with txn.cursor(db=database) as cursor:
        found = cursor.set_range(prefix)
        while found and bytes(cursor.key()).startswith(prefix):
            cursor.delete()
            # The cursor then stands on the next record, and at the end on none.
            found = bool(cursor.key())


def set_aside(txn: "Writing", databases: Databases, key: Key, why: str, group: Group) -> None:
    """Move the records of a session to where nobody serves them, with the reason."""
    prefix = prefix_of(key)
    group.settle(prefix + _COPY)
    with txn.cursor(db=databases.sessions) as cursor:
        found = cursor.set_range(prefix)
        while found and bytes(cursor.key()).startswith(prefix):
            txn.put(cursor.key(), cursor.value(), db=databases.quarantine)
            found = cursor.next()
    erase(txn, databases.sessions, prefix)
    reason = json.dumps({"why": why, "time": int(time.time() * 1000)}).encode()
    txn.put(prefix + _WHY, reason, db=databases.quarantine)


def rewind(txn: "Writing", databases: Databases, key: Key, group: Group) -> None:
    """Let the client of a session be told that steps are lost; of one that is not there nothing is to be told."""
    name = prefix_of(key) + _COPY
    group.settle(name)
    data = txn.get(name, db=databases.sessions)
    if data is None:
        return
    try:
        record = decode_copy(name, bytes(data))
    except Corrupt:  # Its client will be told that.
        return
    txn.put(name, encode_copy(name, record._replace(copy=record.copy._replace(rewound=True))), db=databases.sessions)


# --- reading


Get = Callable[[bytes], bytes | memoryview | None]
"""Gives the record of a name."""


def pending(journal: Journal, key: Key) -> bytes | None:
    """The record of a session's copy that is in the journal. To be called before the transaction begins that reads the
    rest: what is not in the journal then stands where it belongs, and the transaction sees it there.
    """
    return journal.get(prefix_of(key) + _COPY)


def read(get: Get, key: Key, pending: bytes | None = None) -> Kept:
    """All of one session, with arrays of its own. Raises KeyError when there is none, and Corrupt."""
    prefix = prefix_of(key)
    name = prefix + _COPY
    data = get(name) if pending is None else pending
    if data is None:
        raise KeyError(key)
    record = decode_copy(name, bytes(data))
    return Kept(record.copy, _state(get, prefix, record), _stored(get, prefix, record))


def _state(get: Get, prefix: bytes, record: CopyRecord) -> State:
    _, checksum, tail, _, _ = record
    if checksum is None:
        return decode_tensors(memoryview(tail))[0] if tail else ()
    name = prefix + _STATE
    data = get(name)
    if data is None:
        raise Corrupt("its state is missing")
    return decode_state(name, memoryview(bytes(data) + tail) if tail else memoryview(data), checksum)


def _stored(get: Get, prefix: bytes, record: CopyRecord) -> tuple[StoredReply, ...]:
    if record.slots is None:
        return decode_replies(record.replies)
    replies = []
    for slot, step in enumerate(record.slots):
        if step:
            name = prefix + _REPLIES[slot]
            data = get(name)
            if data is None:
                raise Corrupt(f"its reply to step {step} is missing")
            reply = decode_reply(name, memoryview(data))
            if reply.step != step:
                raise Corrupt(f"its reply to step {step} is one to step {reply.step}")
            replies.append(reply)
    return tuple(sorted(replies, key=lambda reply: reply.step))


class Listed(NamedTuple):
    """What is on disk."""

    copies: list[tuple[Key, Copy]]
    corrupt: list[tuple[Key, str]]
    """Those whose copy cannot be read, and why."""


def listed(txn: "Reading", databases: Databases, journal: Journal) -> Listed:
    """Every session. `journal` stays as it is meanwhile."""
    found = Listed([], [])
    pending = journal.names()

    def add(key: Key, name: bytes, value: bytes) -> None:
        try:
            found.copies.append((key, decode_copy(name, value).copy))
        except Corrupt as error:
            found.corrupt.append((key, str(error)))

    with txn.cursor(db=databases.sessions) as cursor:
        there = cursor.first()
        while there:
            name = bytes(cursor.key())
            model, session, tag = name.split(b"\x00", 2)
            key = Key(model.decode(), session.decode())
            if name in pending:
                pending.remove(name)
                add(key, name, journal.get(name) or b"")
            elif tag == _COPY:
                add(key, name, bytes(cursor.value()))
            else:
                found.corrupt.append((key, "its copy is missing"))
            there = cursor.set_range(name[: -len(tag)] + _AFTER)
    for name in pending:  # Those of which nothing stands where it belongs.
        add(Key.decoded(name[: -len(_COPY) - 1]), name, journal.get(name) or b"")
    return found


def quarantined(txn: "Reading", databases: Databases) -> dict[Key, str]:
    """The sessions that were set aside, and why."""
    why: dict[Key, str] = {}
    with txn.cursor(db=databases.quarantine) as cursor:
        for name, value in cursor:
            if bytes(name).endswith(b"\x00" + _WHY):
                why[Key.decoded(bytes(name)[:-2])] = str(json.loads(bytes(value))["why"])
    return why
