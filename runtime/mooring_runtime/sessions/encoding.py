"""The bytes of sessions: records of the store, and the file of one session that is exported or sent. Pure.

Numbers are little-endian. Every record has a checksum over itself and the name under which it stands, so that neither a
torn record is read nor a whole one in the place of another. CRC-32 finds what disks do, at a fifth of the time that a
cryptographic hash takes of every step (0.7 us for 4 KiB); `state_digest` is made only for those who want to see one.

Versions of the format only ever grow; a reader refuses what it does not know instead of guessing.
"""

import struct
from collections.abc import Iterable, Sequence
from functools import lru_cache
from hashlib import blake2b
from math import prod
from typing import NamedTuple
from zlib import crc32

import numpy as np

from mooring_runtime.messages import DATATYPES, Array, Tensor
from mooring_runtime.sessions.copies import KEPT_REPLIES, Copy, End, Kept, Phase, State, StoredReply, Target
from mooring_runtime.sessions.keys import Key
from mooring_runtime.sessions.store import Corrupt

FORMAT = 1
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


# --- tensors


@lru_cache(4096)
def _head(name: str, datatype: str, shape: tuple[int, ...]) -> bytes:
    """What goes before the elements; the same for every step of a model, so it is made once."""
    text, kind = name.encode(), datatype.encode()
    return struct.pack(f"<HBB{len(shape)}Q", len(text), len(kind), len(shape), *shape) + text + kind


def _parts(tensors: Iterable[Tensor], parts: list[bytes | memoryview]) -> None:
    for name, datatype, array in tensors:
        parts.append(_head(name, datatype, array.shape))
        if array.dtype == object:
            for element in array.ravel().tolist():
                parts += (_CRC.pack(len(element)), element)
        else:
            parts.append(array.data if array.flags.c_contiguous else np.ascontiguousarray(array).data)


def encode_tensors(tensors: Sequence[Tensor]) -> bytes:
    """Their names, datatypes, shapes and elements."""
    parts: list[bytes | memoryview] = [_COUNT.pack(len(tensors))]
    _parts(tensors, parts)
    return b"".join(parts)


def state_digest(state: State) -> bytes:
    """BLAKE2b of 16 bytes over a state as it is encoded; what people compare, see `Copy.digest`."""
    return blake2b(encode_tensors(state), digest_size=_DIGEST).digest()


def decode_tensors(data: memoryview, start: int = 0) -> tuple[tuple[Tensor, ...], int]:
    """The tensors that begin at `start`, with arrays of their own, and where they end.

    Raises ValueError, struct.error or UnicodeDecodeError for bytes that `encode_tensors` has not made.
    """
    (count,) = _COUNT.unpack_from(data, start)
    at = start + _COUNT.size
    tensors = []
    for _ in range(count):
        tensor, at = _tensor(data, at)
        tensors.append(tensor)
    return tuple(tensors), at


def _tensor(data: memoryview, at: int) -> tuple[Tensor, int]:
    name_size, kind_size, rank = struct.unpack_from("<HBB", data, at)
    shape = struct.unpack_from(f"<{rank}Q", data, at + 4)
    at += 4 + 8 * rank
    name = str(data[at : at + name_size], "utf-8")
    at += name_size
    kind = str(data[at : at + kind_size], "utf-8")
    at += kind_size
    row = DATATYPES.get(kind)
    if row is None:
        raise ValueError(f"tensor '{name}' has the unknown datatype '{kind}'")
    elements = prod(shape)
    if kind == "BYTES":
        array: Array = np.empty(elements, dtype=object)
        for index in range(elements):
            (size,) = _CRC.unpack_from(data, at)
            at += _CRC.size
            if at + size > len(data):
                raise ValueError(f"tensor '{name}' is cut")
            array[index] = bytes(data[at : at + size])
            at += size
        return Tensor(name, kind, array.reshape(shape)), at
    # Out of the store's memory map, which changes beneath us when the transaction has ended.
    array = np.frombuffer(data, row.dtype, elements, at).reshape(shape).copy()
    return Tensor(name, kind, array), at + array.nbytes


# --- the copy

_COPY = struct.Struct(f"<IBBBBIQQQqqQ{KEPT_REPLIES}Q")
_ENDED, _MOVING_TO, _REWOUND, _STATE = 1, 2, 4, 8


class CopyRecord(NamedTuple):
    """What stands on disk about a session, beside its tensors, as the store keeps it."""

    copy: Copy
    state: int | None
    """The checksum of the state's record, here so that an old state cannot be taken for the present one; None: the
    session has no state."""
    slots: Slots
    """Where its replies are."""
    rest: bytes = b""
    """The end of the state's record, see `split`."""


class Ties(NamedTuple):
    """What a change of a session must know of the record that it replaces."""

    incarnation: int
    state: int | None
    slots: Slots
    rest: bytes


def encode_copy(name: bytes, record: CopyRecord) -> bytes:
    """The bytes of a copy that stands under `name`. Raises ValueError for a text that is too long."""
    copy, state, slots, rest = record
    flags = (
        _ENDED * (copy.end is not None)
        | _MOVING_TO * (copy.to is not None)
        | _REWOUND * copy.rewound
        | _STATE * (state is not None)
    )
    fixed = _COPY.pack(
        0,
        FORMAT,
        copy.phase,
        flags,
        len(rest),
        state or 0,
        copy.since,
        copy.incarnation,
        copy.step,
        copy.created,
        copy.last_used,
        copy.size,
        *slots,
    )
    tail = _made_by(copy.version, copy.fingerprint)
    if copy.end is not None:
        tail += struct.pack("<qQ", copy.end.time, copy.end.step) + _texts(copy.end.cause)
    if copy.to is not None:
        tail += _CRC.pack(copy.to.ordinal) + _texts(copy.to.store)
    body = fixed[_CRC.size :] + tail + rest
    return _CRC.pack(crc32(body, crc32(name))) + body


def _copy_fields(name: bytes, data: bytes) -> tuple[int, ...]:
    """The fixed part, once it is known to be whole. Raises Corrupt."""
    if len(data) < _COPY.size:
        raise Corrupt(f"its copy has {len(data)} bytes, fewer than any")
    fields: tuple[int, ...] = _COPY.unpack_from(data)
    if fields[0] != crc32(memoryview(data)[_CRC.size :], crc32(name)):
        raise Corrupt("the checksum of its copy is wrong")
    if fields[1] != FORMAT:
        raise Corrupt(f"its copy has format {fields[1]}, and this server knows {FORMAT}: a newer one has written it")
    return fields


def ties_of(name: bytes, data: bytes) -> Ties:
    """The ties of a copy as `encode_copy` has made it, at half the time of `decode_copy`. Raises Corrupt."""
    fields = _copy_fields(name, data)
    return Ties(fields[7], fields[5] if fields[3] & _STATE else None, fields[12:], data[len(data) - fields[4] :])


def decode_copy(name: bytes, data: bytes) -> CopyRecord:
    """What `encode_copy` was given; `digest` of the copy is empty. Raises Corrupt."""
    fields = _copy_fields(name, data)
    _, _, phase, flags, rest, state, since, incarnation, step, created, last_used, size, *slots = fields
    rest_at = len(data) - rest
    end = to = None
    if flags & (_ENDED | _MOVING_TO):
        (version, fingerprint), at = _texts_from(data, _COPY.size, 2)
        if flags & _ENDED:
            time, last = struct.unpack_from("<qQ", data, at)
            (cause,), at = _texts_from(data, at + 16, 1)
            end = End(cause, time, last)
        if flags & _MOVING_TO:
            (ordinal,) = _CRC.unpack_from(data, at)
            (store,), at = _texts_from(data, at + _CRC.size, 1)
            to = Target(ordinal, store)
    else:
        version, fingerprint = _maker(data[_COPY.size : rest_at])
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
    return CopyRecord(copy, state if flags & _STATE else None, tuple(slots), data[rest_at:])


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


_REPLY = struct.Struct("<IBBxxQ")


def encode_reply(name: bytes, reply: StoredReply) -> bytes:
    """The bytes of a stored reply that stands under `name`."""
    parts: list[bytes | memoryview] = [
        _REPLY.pack(0, FORMAT, len(reply.digest), reply.step)[_CRC.size :],
        reply.digest,
        _COUNT.pack(len(reply.outputs)),
    ]
    _parts(reply.outputs, parts)
    body = b"".join(parts)
    return _CRC.pack(crc32(body, crc32(name))) + body


def decode_reply(name: bytes, data: memoryview) -> StoredReply:
    """What `encode_reply` was given. Raises Corrupt."""
    if len(data) < _REPLY.size:
        raise Corrupt(f"a reply has {len(data)} bytes, fewer than any")
    crc, version, digest_size, step = _REPLY.unpack_from(data)
    if crc != crc32(data[_CRC.size :], crc32(name)):
        raise Corrupt("the checksum of a reply is wrong")
    if version != FORMAT:
        raise Corrupt(f"a reply has format {version}, and this server knows {FORMAT}: a newer one has written it")
    digest = bytes(data[_REPLY.size : _REPLY.size + digest_size])
    return StoredReply(step, digest, decode_tensors(data, _REPLY.size + digest_size)[0])


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
        encode_copy(b"", CopyRecord(kept.copy, crc32(state), NO_SLOTS)),
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
