"""Where the records of a session stand in the database, and how a change is put there: within one transaction of LMDB.

    sessions     MODEL 00 SESSION 00 c     the copy, see `encoding.CopyRecord`
                 MODEL 00 SESSION 00 r0    a stored reply; up to r3, in the slot that the copy tells
                 MODEL 00 SESSION 00 s     the state
    quarantine   the same names for what was set aside, and ... 00 ? for why
    meta         store  id and format as JSON, boot  8 bytes, clean  0 or 1, record  the membership record,
                 lazy   0 or 1, doubt  8 bytes, see `LmdbReader.doubt`

The records of one session stand beside each other, so that a step changes one leaf of the tree and not three: a commit
of 32 steps among 10,000 sessions writes 62 pages instead of 130 with states of 256 bytes, 89 instead of 147 with 4 KiB
(measured, against databases of their own for copies, replies and states). A new reply takes the slot of the one that
falls out, in place: nothing is inserted and nothing deleted by an ordinary step. To list all copies one jumps from `c`
to `c` and never touches the pages of a large state.
"""

import json
import time
from typing import TYPE_CHECKING, NamedTuple

from mooring_runtime.sessions.copies import KEPT_REPLIES, Copy, Kept, Phase
from mooring_runtime.sessions.encoding import (
    NO_SLOTS,
    CopyRecord,
    Slots,
    Ties,
    decode_copy,
    decode_reply,
    decode_state,
    encode_copy,
    encode_reply,
    encode_state,
    split,
    state_digest,
    ties_of,
)
from mooring_runtime.sessions.keys import Key
from mooring_runtime.sessions.store import Change, Corrupt

if TYPE_CHECKING:
    import lmdb

    Writing = lmdb.Transaction[bytes]
    Reading = lmdb.Transaction[memoryview]
    Database = lmdb._Database

_COPY, _REPLY, _STATE, _WHY = b"c", b"r", b"s", b"?"
_REPLIES = [_REPLY + b"%d" % slot for slot in range(KEPT_REPLIES)]
_AFTER = b"\xff"
"""Sorts behind every record of a session."""


class Databases(NamedTuple):
    """The handles of one environment."""

    meta: "Database"
    sessions: "Database"
    quarantine: "Database"


def prefix_of(key: Key) -> bytes:
    """What the names of a session's records begin with."""
    return key.encoded() + b"\x00"


# --- writing


def apply(txn: "Writing", databases: Databases, change: Change) -> None:
    """Put a change into a transaction. Raises lmdb.Error, ValueError for what cannot be encoded, and Corrupt."""
    key, copy, state, replies = change
    prefix = prefix_of(key)
    sessions = databases.sessions
    if copy is None:
        erase(txn, sessions, prefix)
        erase(txn, databases.quarantine, prefix)
        return
    if copy.phase is Phase.MOVED:
        erase(txn, databases.quarantine, prefix)  # What was set aside was dropped, see `dropping`.
    old = _ties(txn, sessions, prefix, change)
    _, checksum, slots, rest = old
    if state:
        data, checksum = encode_state(prefix + _STATE, state)
        data, rest = split(data)
        txn.put(prefix + _STATE, data, db=sessions)
    elif state is not None and checksum is not None:
        checksum, rest = None, b""
        txn.delete(prefix + _STATE, db=sessions)
    if replies is not None:
        known = slots if old.incarnation == copy.incarnation else NO_SLOTS
        slots = slots_for(known, [reply.step for reply in replies])
        for reply in replies:
            slot = slots.index(reply.step)
            if known[slot] != reply.step:
                name = prefix + _REPLIES[slot]
                txn.put(name, encode_reply(name, reply), db=sessions)
        for slot in range(KEPT_REPLIES):
            if old.slots[slot] and not slots[slot]:
                txn.delete(prefix + _REPLIES[slot], db=sessions)
    name = prefix + _COPY
    txn.put(name, encode_copy(name, CopyRecord(copy, checksum, slots, rest)), db=sessions)


_NEW = Ties(0, None, NO_SLOTS, b"")


def _ties(txn: "Writing", sessions: "Database", prefix: bytes, change: Change) -> Ties:
    data = txn.get(prefix + _COPY, db=sessions)
    if data is None:
        return _NEW
    try:
        return ties_of(prefix + _COPY, data)
    except Corrupt:
        # Whoever writes has read the session before, so it went bad since. What a change leaves as it is would be lost
        # without a word; one that says everything may take its place.
        if change.state is None or change.replies is None:
            raise
        erase(txn, sessions, prefix)
        return _NEW


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


def set_aside(txn: "Writing", databases: Databases, key: Key, why: str) -> None:
    """Move the records of a session to where nobody serves them, with the reason."""
    prefix = prefix_of(key)
    with txn.cursor(db=databases.sessions) as cursor:
        found = cursor.set_range(prefix)
        while found and bytes(cursor.key()).startswith(prefix):
            txn.put(cursor.key(), cursor.value(), db=databases.quarantine)
            found = cursor.next()
    erase(txn, databases.sessions, prefix)
    reason = json.dumps({"why": why, "time": int(time.time() * 1000)}).encode()
    txn.put(prefix + _WHY, reason, db=databases.quarantine)


def rewind(txn: "Writing", databases: Databases, key: Key) -> None:
    """Let the client of a session be told that steps are lost; of one that is not there nothing is to be told."""
    name = prefix_of(key) + _COPY
    data = txn.get(name, db=databases.sessions)
    if data is None:
        return
    try:
        record = decode_copy(name, bytes(data))
    except Corrupt:  # Its client will be told that.
        return
    txn.put(name, encode_copy(name, record._replace(copy=record.copy._replace(rewound=True))), db=databases.sessions)


# --- reading


def read(txn: "Reading", databases: Databases, key: Key) -> Kept:
    """All of one session, with arrays of its own. Raises KeyError when there is none, and Corrupt."""
    prefix = prefix_of(key)
    name = prefix + _COPY
    data = txn.get(name, db=databases.sessions)
    if data is None:
        raise KeyError(key)
    copy, checksum, slots, rest = decode_copy(name, bytes(data))
    kept = Kept(copy)
    if checksum is not None:
        name = prefix + _STATE
        data = txn.get(name, db=databases.sessions)
        if data is None:
            raise Corrupt("its state is missing")
        state = decode_state(name, memoryview(bytes(data) + rest) if rest else data, checksum)
        kept = kept._replace(state=state, copy=copy._replace(digest=state_digest(state)))
    replies = []
    for slot, step in enumerate(slots):
        if step:
            name = prefix + _REPLIES[slot]
            data = txn.get(name, db=databases.sessions)
            if data is None:
                raise Corrupt(f"its reply to step {step} is missing")
            reply = decode_reply(name, data)
            if reply.step != step:
                raise Corrupt(f"its reply to step {step} is one to step {reply.step}")
            replies.append(reply)
    return kept._replace(replies=tuple(sorted(replies, key=lambda reply: reply.step)))


class Listed(NamedTuple):
    """What is on disk."""

    copies: list[tuple[Key, Copy]]
    corrupt: list[tuple[Key, str]]
    """Those whose copy cannot be read, and why."""


def listed(txn: "Reading", databases: Databases) -> Listed:
    """Every session, in the order of their names."""
    found = Listed([], [])
    with txn.cursor(db=databases.sessions) as cursor:
        there = cursor.first()
        while there:
            name = bytes(cursor.key())
            model, session, tag = name.split(b"\x00", 2)
            key = Key(model.decode(), session.decode())
            if tag == _COPY:
                try:
                    found.copies.append((key, decode_copy(name, bytes(cursor.value())).copy))
                except Corrupt as error:
                    found.corrupt.append((key, str(error)))
            else:
                found.corrupt.append((key, "its copy is missing"))
            there = cursor.set_range(name[: -len(tag)] + _AFTER)
    return found


def quarantined(txn: "Reading", databases: Databases) -> dict[Key, str]:
    """The sessions that were set aside, and why."""
    why: dict[Key, str] = {}
    with txn.cursor(db=databases.quarantine) as cursor:
        for name, value in cursor:
            if bytes(name).endswith(b"\x00" + _WHY):
                why[Key.decoded(bytes(name)[:-2])] = str(json.loads(bytes(value))["why"])
    return why
