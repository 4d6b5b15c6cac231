"""The bytes of sessions: records of the store, and the file of one session that is exported or sent. Pure.

Numbers are little-endian. Every record has a checksum over itself and the name under which it stands, so that neither a
torn record is read nor a whole one in the place of another. CRC-32 finds what disks do, at a fifth of the time that a
cryptographic hash takes of every step (0.7 us for 4 KiB); `state_digest` is made only for those who want to see one.

Versions of the format only ever grow; a reader refuses what it does not know instead of guessing.
"""

import struct
from collections.abc import Sequence
from functools import lru_cache
from hashlib import blake2b
from typing import NamedTuple
from zlib import crc32

from mooring_runtime.sessions.copies import KEPT_REPLIES, Copy, End, Kept, Phase, State, StoredReply, Target
from mooring_runtime.sessions.keys import Key
from mooring_runtime.sessions.store import Corrupt
from mooring_runtime.sessions.tensors import decode_tensors, encode_tensors

FORMAT = 2
"""Of every record, and of the file of one session."""
MAGIC = b"MOORSESS"
"""The first bytes of such a file."""

_DIGEST = 16
_CRC = struct.Struct("<I")
_COUNT = struct.Struct("<H")
_SIZE = struct.Struct("<Q")

Slots = tuple[int, ...]
"""The step of the reply in each of the KEPT_REPLIES places that the store has for one session; 0: none."""
NO_SLOTS: Slots = (0,) * KEPT_REPLIES


def state_digest(state: State) -> bytes:
    """BLAKE2b of 16 bytes over a state as it is encoded; what people compare, see `Copy.digest`."""
    return blake2b(encode_tensors(state), digest_size=_DIGEST).digest()


# --- the copy

_COPY = struct.Struct("<BBBxIHxxIQQQqqQ")
_AT = _CRC.size + _COPY.size
"""Where the texts of a copy begin."""
_ENDED, _MOVING_TO, _REWOUND, _STATE, _SLOTS = 1, 2, 4, 8, 16


class CopyRecord(NamedTuple):
    """What the record of a copy says: all of a small session, and of a larger one what its other records are."""

    copy: Copy
    state: int | None = None
    """The checksum of the state's own record, here so that an old state cannot be taken for the present one; None: it
    has none, the state stands here."""
    tail: bytes = b""
    """The state, as `encode_tensors` gives it; nothing where there is none. Or the end of its own record, see `split`.
    """
    replies: bytes = b""
    """Those that stand here, one behind the other, see `encode_replies`."""
    slots: Slots | None = None
    """Where the replies are that have records of their own; None: all of them are here."""


def encode_copy(name: bytes, record: CopyRecord) -> bytes:
    """The bytes of a copy that stands under `name`. Raises ValueError for a text that is too long."""
    copy, state, tail, replies, slots = record
    phase, since, incarnation, step, end, to, version, fingerprint, created, last_used, size, _, rewound = copy
    texts = _made_by(version, fingerprint)
    flags = 0 if state is None else _STATE
    if rewound:
        flags |= _REWOUND
    if end is not None:
        flags |= _ENDED
        texts += struct.pack("<qQ", end.time, end.step) + _texts(end.cause)
    if to is not None:
        flags |= _MOVING_TO
        texts += _CRC.pack(to.ordinal) + _texts(to.store)
    if slots is not None:
        flags |= _SLOTS
        replies = _PLACES.pack(*slots)
    at = _AT + len(texts)
    head = _COPY.pack(
        FORMAT, phase, flags, state or 0, at, len(replies), since, incarnation, step, created, last_used, size
    )
    body = b"".join((head, texts, replies, tail))
    return _CRC.pack(crc32(body, crc32(name))) + body


_PLACES = struct.Struct(f"<{KEPT_REPLIES}Q")


def _copy_fields(name: bytes, data: bytes) -> tuple[int, ...]:
    """The fixed part, once it is known to be whole. Raises Corrupt."""
    if len(data) < _AT:
        raise Corrupt(f"its copy has {len(data)} bytes, fewer than any")
    if _CRC.unpack_from(data)[0] != crc32(memoryview(data)[_CRC.size :], crc32(name)):
        raise Corrupt("the checksum of its copy is wrong")
    fields: tuple[int, ...] = _COPY.unpack_from(data, _CRC.size)
    if fields[0] != FORMAT:
        raise Corrupt(f"its copy has format {fields[0]}, and this server knows {FORMAT}: another one has written it")
    return fields


def decode_copy(name: bytes, data: bytes) -> CopyRecord:
    """What `encode_copy` was given; `digest` of the copy is empty. Raises Corrupt."""
    fields = _copy_fields(name, data)
    _, phase, flags, state, replies_at, replies_size, since, incarnation, step, created, last_used, size = fields
    end = to = None
    if flags & (_ENDED | _MOVING_TO):
        (version, fingerprint), at = _texts_from(data, _AT, 2)
        if flags & _ENDED:
            time, last = struct.unpack_from("<qQ", data, at)
            (cause,), at = _texts_from(data, at + 16, 1)
            end = End(cause, time, last)
        if flags & _MOVING_TO:
            (ordinal,) = _CRC.unpack_from(data, at)
            (store,), at = _texts_from(data, at + _CRC.size, 1)
            to = Target(ordinal, store)
    else:
        version, fingerprint = _maker(data[_AT:replies_at])
    copy = Copy(
        _PHASES[phase],
        since,
        incarnation,
        step,
        end,
        to,
        version,
        fingerprint,
        created,
        last_used,
        size,
        b"",
        flags & _REWOUND != 0,
    )
    tail_at = replies_at + replies_size
    replies, slots = data[replies_at:tail_at], None
    if flags & _SLOTS:
        replies, slots = b"", _PLACES.unpack(replies)
    return CopyRecord(copy, state if flags & _STATE else None, data[tail_at:], replies, slots)


@lru_cache(256)
def _maker(tail: bytes) -> tuple[str, str]:
    """Version and fingerprint, of which most sessions have the same."""
    (version, fingerprint), _ = _texts_from(tail, 0, 2)
    return version, fingerprint


_PHASES = {int(phase): phase for phase in Phase}


@lru_cache(256)
def _made_by(version: str, fingerprint: str) -> bytes:
    return _texts(version, fingerprint)


def _texts(*texts: str) -> bytes:
    encoded = [text.encode() for text in texts]
    if any(len(text) > 255 for text in encoded):
        raise ValueError(f"a text of a session's copy has more than 255 bytes: {max(texts, key=len)!r}")
    return b"".join(bytes((len(text),)) + text for text in encoded)


def _texts_from(data: bytes, at: int, count: int) -> tuple[list[str], int]:
    texts = []
    for _ in range(count):
        size = data[at]
        texts.append(str(data[at + 1 : at + 1 + size], "utf-8"))
        at += 1 + size
    return texts, at


# --- state and replies


def encode_state(name: bytes, state: State) -> tuple[bytes, int]:
    """The bytes of a state that stands under `name`, and their checksum, which goes into the copy."""
    data = encode_tensors(state)
    return data, crc32(data, crc32(name))


_PAGE = 4096
_PAGE_HEAD = 16
_LONGEST_REST = 255


def split(data: bytes) -> tuple[bytes, bytes]:
    """A state's record, and its end where that alone would need a page; the copy takes it along.

    LMDB gives a large value pages of its own, with a head in the first. States are often a power of two, and what tells
    their names and shapes then needs one page more: a state of 4 KiB would take two.
    """
    rest = (len(data) + _PAGE_HEAD) % _PAGE
    if len(data) < _PAGE - _PAGE_HEAD or not 0 < rest <= _LONGEST_REST:
        return data, b""
    return data[:-rest], data[-rest:]


def decode_state(name: bytes, data: memoryview, checksum: int) -> State:
    """What `encode_state` was given. Raises Corrupt."""
    if crc32(data, crc32(name)) != checksum:
        raise Corrupt("the checksum of its state is wrong")
    return decode_tensors(data)[0]


_REPLY = struct.Struct("<QIB")


def encode_replies(replies: Sequence[StoredReply]) -> bytes:
    """The bytes of replies, one behind the other; what they stand in has a checksum.

    Raises ValueError for more than KEPT_REPLIES.
    """
    if len(replies) > KEPT_REPLIES:
        raise ValueError(f"a session keeps at most {KEPT_REPLIES} replies, not {len(replies)}")
    parts: list[bytes] = []
    for reply in replies:
        step, digest, _, _ = reply
        outputs = reply.encoded
        parts += (_REPLY.pack(step, len(outputs), len(digest)), digest, outputs)
    return b"".join(parts)


def decode_replies(data: bytes | memoryview) -> tuple[StoredReply, ...]:
    """What `encode_replies` was given."""
    replies, at = [], 0
    view = memoryview(data)
    while at < len(view):
        step, size, digest_size = _REPLY.unpack_from(view, at)
        at += _REPLY.size
        digest = bytes(view[at : at + digest_size])
        at += digest_size
        replies.append(StoredReply(step, digest, decode_tensors(view, at)[0]))
        at += size
    return tuple(replies)


_REPLY_HEAD = struct.Struct("<IB")


def encode_reply(name: bytes, reply: StoredReply) -> bytes:
    """The bytes of a stored reply that has a record of its own, under `name`."""
    body = b"%c%b" % (FORMAT, encode_replies((reply,)))
    return _CRC.pack(crc32(body, crc32(name))) + body


def decode_reply(name: bytes, data: memoryview) -> StoredReply:
    """What `encode_reply` was given. Raises Corrupt."""
    if len(data) < _REPLY_HEAD.size + _REPLY.size:
        raise Corrupt(f"a reply has {len(data)} bytes, fewer than any")
    crc, version = _REPLY_HEAD.unpack_from(data)
    if crc != crc32(data[_CRC.size :], crc32(name)):
        raise Corrupt("the checksum of a reply is wrong")
    if version != FORMAT:
        raise Corrupt(f"a reply has format {version}, and this server knows {FORMAT}: another one has written it")
    return decode_replies(data[_REPLY_HEAD.size :])[0]


# --- the file of one session


class Packed(NamedTuple):
    """A session on its way: out of a store by export, or from one replica to another."""

    key: Key
    kept: Kept
    idle: int = 0
    """Milliseconds that it has rested: no instant of one machine's clock is compared with another's."""


def pack(key: Key, kept: Kept, idle: int = 0) -> bytes:
    """The file of one session: MAGIC, format, its parts with their lengths, and BLAKE2b of 16 bytes over all that."""
    name = key.encoded()
    state = encode_tensors(kept.state)
    parts = [
        name,
        _SIZE.pack(idle),
        encode_copy(b"", CopyRecord(kept.copy)),
        state,
        *(encode_reply(b"", reply) for reply in kept.replies),
    ]
    body = MAGIC + _COUNT.pack(FORMAT) + b"".join(_SIZE.pack(len(part)) + part for part in parts)
    return body + blake2b(body, digest_size=_DIGEST).digest()


def unpack(data: bytes) -> Packed:
    """What `pack` was given, with the state's digest in its copy. Raises Corrupt with what is wrong with the file."""
    if not data.startswith(MAGIC):
        raise Corrupt("this is not the file of a session: it does not begin with " + MAGIC.decode())
    if len(data) < len(MAGIC) + _COUNT.size + _DIGEST:
        raise Corrupt(f"the file of a session is cut: it has {len(data)} bytes")
    (version,) = _COUNT.unpack_from(data, len(MAGIC))
    if version != FORMAT:
        raise Corrupt(f"the file of a session has format {version}, and this server knows {FORMAT}")
    body = memoryview(data)[:-_DIGEST]
    if blake2b(body, digest_size=_DIGEST).digest() != data[-_DIGEST:]:
        raise Corrupt("the checksum of the file of a session is wrong: it is cut, or was changed")
    try:
        return _packed(body)
    except (ValueError, struct.error, IndexError, KeyError) as error:
        raise Corrupt(f"the file of a session cannot be understood: {error}") from None


def _packed(body: memoryview) -> Packed:
    parts = []
    at = len(MAGIC) + _COUNT.size
    while at < len(body):
        (size,) = _SIZE.unpack_from(body, at)
        at += _SIZE.size
        if at + size > len(body):
            raise ValueError("a part goes beyond its end")
        parts.append(body[at : at + size])
        at += size
    name, idle, copy_data, state_data, *reply_data = parts
    state, _ = decode_tensors(state_data)
    copy = decode_copy(b"", bytes(copy_data)).copy
    if state:
        copy = copy._replace(digest=blake2b(state_data, digest_size=_DIGEST).digest())
    replies = tuple(decode_reply(b"", data) for data in reply_data)
    return Packed(Key.decoded(bytes(name)), Kept(copy, state, replies), _SIZE.unpack(idle)[0])
