"""What is done with a step of a session: run, answered from what is stored, or refused. Pure.

The checks stand in one order, whatever brought the step: the request itself, then which life of the id it means, then
whether the session is there, then its number.
"""

import enum
import secrets
from collections.abc import Sequence
from functools import lru_cache
from hashlib import blake2b
from typing import Final, NamedTuple

import numpy as np

from mooring_runtime.errors.sessions import (
    BadSession,
    ReplyGone,
    SessionConflict,
    SessionGone,
    UnknownSession,
)
from mooring_runtime.messages import Array, SessionCall
from mooring_runtime.sessions.copies import KEPT_REPLIES, Copy, End, Phase, StoredReply
from mooring_runtime.sessions.keys import minted_ordinal

LARGEST_STEP = 2**53
"""A step number is below this: what JSON carries exactly."""


class Life(enum.Enum):
    """How a step that is to run stands to the session that it found."""

    CREATE = "create"
    """There is none: the step creates it."""
    GO_ON = "go on"
    """It is the next step."""
    AGAIN = "again"
    """The session before it has ended, or ends by this step: a new life of the id begins."""


Verdict = Life | StoredReply
"""A life to run the step in, or the reply that answers it."""

_BEGINS: Final = (None, 1)


def check(call: SessionCall) -> None:
    """What can be said of a step without looking at its session. Raises BadSession."""
    step = call.step
    if step is not None and not 0 < step < LARGEST_STEP:
        raise BadSession(
            f"step {step} of {_named(call.id)}: steps are numbered from 1",
            "bad-step",
            session=call.id or None,
            step=step,
        )
    if (call.start or call.new) and step not in _BEGINS:
        raise BadSession(
            f"step {step} of {_named(call.id)} starts it: it must have the number 1, or none",
            "bad-step",
            session=call.id or None,
            step=step,
        )


def absent(call: SessionCall, *, lost: bool = False) -> Life:
    """A step for a session of which it is proved that nobody has it; `lost`: but for stores that were given up.

    Raises BadSession, SessionGone, SessionConflict, UnknownSession.
    """
    if call.new:
        return Life.CREATE
    if call.start:
        if minted_ordinal(call.id) is not None:
            raise BadSession(
                f"{_named(call.id)} does not exist, and ids of this form are made by servers: ask for a new one, "
                "or choose another",
                "reserved-id",
                session=call.id,
                step=call.step,
            )
        return Life.CREATE
    if lost:
        raise SessionGone(
            f"{_named(call.id)} is unknown, and a volume that may have had it was given up",
            "maybe-lost",
            session=call.id,
            step=call.step,
        )
    raise UnknownSession(
        f"{_named(call.id)} is unknown: a session begins with a step that says so", session=call.id, step=call.step
    )


def decide(
    copy: Copy, replies: Sequence[StoredReply], call: SessionCall, digest: bytes, *, rewound: bool = False
) -> Verdict:
    """A step for a session whose copy is held here; `digest` is that of its inputs.

    `rewound`: steps that were acknowledged may be lost, and the client has not been told yet.
    Raises SessionGone, SessionConflict, ReplyGone.
    """
    if call.incarnation is not None and call.incarnation != copy.incarnation:
        raise SessionGone(
            f"{_named(call.id)} was started again since: the life of the id that the request means has ended",
            "restarted",
            session=call.id,
            step=call.step,
        )
    if call.start:
        return _start(copy, replies, call, digest)
    number = call.step
    if number is not None and number <= copy.step:
        return _repeat(copy, replies, call, digest)
    if copy.end is not None:
        raise SessionGone(
            f"{_named(call.id)} has {_ENDED.get(copy.end.cause, copy.end.cause)} after step {copy.end.step}",
            copy.end.cause,
            session=call.id,
            step=number,
        )
    if number is not None and number > copy.step + 1:
        raise SessionConflict(
            f"step {number} of {_named(call.id)}: the next one is {copy.step + 1}",
            "gap",
            session=call.id,
            step=number,
            expected=copy.step + 1,
        )
    if rewound and number is None:
        raise SessionConflict(
            f"{_named(call.id)} stands at step {copy.step}: steps after it may have been acknowledged and are lost; "
            "the next request goes on from there",
            "rewound",
            session=call.id,
            step=copy.step,
            expected=copy.step + 1,
        )
    return Life.GO_ON


def _start(copy: Copy, replies: Sequence[StoredReply], call: SessionCall, digest: bytes) -> Verdict:
    """A start over a copy that is there."""
    if copy.end is None and copy.step == 0:
        return Life.GO_ON  # Made by the API, or by a reset, for this step.
    if call.step is None:
        return Life.AGAIN
    first = next((reply for reply in replies if reply.step == 1), None)
    if first is not None and first.digest == digest:
        return first
    if copy.end is not None and (first is not None or copy.step == 0):
        return Life.AGAIN  # The life that has ended began with another input, or had no step at all.
    if copy.end is not None and call.incarnation is None:
        # It may be a late repeat of the step that began the life which has ended: a new life would apply it twice. Or
        # it was never applied: the input of the first step is no longer known.
        gone = SessionGone(
            f"{_named(call.id)} has {_ENDED.get(copy.end.cause, copy.end.cause)} after step {copy.end.step}, and the "
            "reply to its first step is no longer kept, so nobody can tell whether this is that step: to begin again "
            "under this id, start it without a step number",
            copy.end.cause,
            session=call.id,
            step=call.step,
        )
        gone.applied = "unknown"
        raise gone
    if first is None:
        # A late repeat of the step that began this life hears the truth; who was told `no` would send it anew. And who
        # names the life that has ended had an answer to a step of it.
        stands = "has ended" if copy.end is not None else "is there already"
        raise ReplyGone(
            f"{_named(call.id)} {stands}, at step {copy.step}: its first step was applied, and its reply is no "
            "longer kept, so nobody can tell whether its input was this one; to begin again, end it first, or start it "
            "without a step number",
            session=call.id,
            step=call.step,
            expected=copy.step + 1,
        )
    raise SessionConflict(
        f"{_named(call.id)} is there already, at step {copy.step}, and its first step had another input; end it first, "
        "or start it without a step number",
        "exists",
        session=call.id,
        step=call.step,
        expected=copy.step + 1,
    )


def _repeat(copy: Copy, replies: Sequence[StoredReply], call: SessionCall, digest: bytes) -> StoredReply:
    """A step whose number was applied."""
    for reply in replies:
        if reply.step == call.step:
            if reply.digest == digest:
                return reply
            raise SessionConflict(
                f"step {call.step} of {_named(call.id)} was applied with another input",
                "mismatch",
                session=call.id,
                step=call.step,
                expected=copy.step + 1,
            )
    raise ReplyGone(
        f"step {call.step} of {_named(call.id)} was applied, and its reply is no longer kept: the session stands at "
        f"step {copy.step}, and at most {KEPT_REPLIES} replies are kept",
        session=call.id,
        step=call.step,
        expected=copy.step + 1,
    )


class Made(NamedTuple):
    """What a step has made of the state of its session."""

    version: str
    """Of the model that ran."""
    fingerprint: str
    size: int
    """Bytes of the new state."""
    now: int
    """Milliseconds since 1970."""
    ends: bool
    """The step ends its session."""


def advance(copy: Copy | None, life: Life, made: Made, since: int) -> Copy:
    """The copy after a step; `since` is the epoch under which one is created. An ended session has no state."""
    version, fingerprint, size, now, ends = made
    if life is Life.GO_ON and copy is not None and not ends:
        return following(copy, version, fingerprint, size, now)
    step, incarnation, created = 1, 0, now
    if copy is not None:
        since = copy.since
        if life is Life.GO_ON:
            step, incarnation, created = copy.step + 1, copy.incarnation, copy.created
    return Copy(
        Phase.HELD,
        since,
        incarnation or new_incarnation(),
        step,
        End("ended", now, step) if ends else None,
        None,
        version,
        fingerprint,
        created,
        now,
        0 if ends else size,
    )


def following(copy: Copy, version: str, fingerprint: str, size: int, now: int) -> Copy:
    """The copy after a step by which its session goes on, as nearly all do; quicker than by its constructor."""
    _, since, incarnation, step, _, _, _, _, created, *_ = copy
    return tuple.__new__(
        Copy,
        (Phase.HELD, since, incarnation, step + 1, None, None, version, fingerprint, created, now, size, b"", False),
    )


def new_incarnation() -> int:
    """Tells one life of an id from another. Of 53 bits, since it travels through JSON, which is exact so far."""
    return secrets.randbits(53) | 1


_ENDED = {
    "ended": "ended",
    "expired": "expired",
    "evicted": "been evicted to make room",
    "restarted": "been started again",
}


def _named(session: str) -> str:
    return f"session '{session}'" if session else "a new session"


def digest_of(inputs: Sequence[tuple[str, str, Array]]) -> bytes:
    """16 bytes that stand for the inputs of a step: their names, datatypes, shapes and bytes, in whatever order they
    came. Two requests with the same digest are taken for the same request.
    """
    if len(inputs) == 1:
        [(name, datatype, array)] = inputs
        return digest_of_one(name, datatype, array)
    hashed = blake2b(digest_size=16)
    for name, datatype, array in sorted(inputs, key=_name):
        # The lengths keep two tensors from being read as one, or their names as parts of their data.
        data = _bytes(array)
        hashed.update(_head(name, datatype, array.shape, len(data)))
        hashed.update(data)
    return hashed.digest()


def digest_of_one(name: str, datatype: str, array: Array) -> bytes:
    """`digest_of` for a step of one input."""
    data = _bytes(array)
    head = _head(name, datatype, array.shape, len(data))
    if len(data) > _LARGE:
        hashed = blake2b(head, digest_size=16)
        hashed.update(data)
        return hashed.digest()
    return blake2b(b"".join((head, data)), digest_size=16).digest()


def _head(name: str, datatype: str, shape: tuple[int, ...], size: int) -> bytes:
    """What goes before the bytes of a tensor; the same for nearly all steps of a model, so it is made once."""
    # Clients choose the names of requests that were not checked yet, and must not fill the memory with them.
    made = _known_head if len(name) <= _LONGEST_NAME else _head_of
    return made(name, datatype, shape, size)


def _head_of(name: str, datatype: str, shape: tuple[int, ...], size: int) -> bytes:
    return f"{len(name)} {name} {datatype} {shape} {size} ".encode(errors="surrogatepass")


_known_head = lru_cache(4096)(_head_of)
_LONGEST_NAME = 256
_LARGE = 2**16


def _name(tensor: tuple[str, str, Array]) -> str:
    return tensor[0]


def _bytes(array: Array) -> bytes | memoryview:
    if array.dtype.hasobject:
        return b"".join(b"%d %b" % (len(item), item) for item in map(_text, array.ravel().tolist()))
    if array.nbytes > _LARGE and array.flags.c_contiguous:
        return array.reshape(-1).view(np.uint8).data  # To copy them would hold the event loop for longer.
    return array.tobytes()


def _text(item: bytes | str) -> bytes:
    return item if isinstance(item, bytes) else str(item).encode(errors="surrogatepass")
