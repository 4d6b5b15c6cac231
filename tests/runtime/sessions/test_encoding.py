"""The bytes of records and of the file of one session: whole again, or refused."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mooring_runtime.messages import DATATYPES, Tensor
from mooring_runtime.sessions.copies import Copy, End, Kept, Phase, State, StoredReply, Target
from mooring_runtime.sessions.encoding import (
    CopyRecord,
    decode_copy,
    decode_reply,
    decode_state,
    encode_copy,
    encode_replies,
    encode_reply,
    encode_state,
    pack,
    split,
    state_digest,
    unpack,
)
from mooring_runtime.sessions.keys import Key
from mooring_runtime.sessions.store import Corrupt
from mooring_runtime.sessions.tensors import encode_tensors
from tests.support.tensors import sample

_NAME = b"echo\x00a\x00"
_U64 = st.integers(0, 2**64 - 1)
_I64 = st.integers(-(2**63), 2**63 - 1)
_TEXT = st.text(max_size=60)
_COPIES = st.builds(
    Copy,
    phase=st.sampled_from(Phase),
    since=_U64,
    incarnation=_U64,
    step=_U64,
    end=st.none() | st.builds(End, _TEXT, _I64, _U64),
    to=st.none() | st.builds(Target, st.integers(0, 2**32 - 1), _TEXT),
    version=_TEXT,
    fingerprint=_TEXT,
    created=_I64,
    last_used=_I64,
    size=_U64,
    digest=st.just(b""),
    rewound=st.booleans(),
)


def _same(one: State, other: State) -> None:
    assert [tensor[:2] for tensor in one] == [tensor[:2] for tensor in other]
    for mine, theirs in zip(one, other, strict=True):
        assert mine.array.dtype == theirs.array.dtype
        assert mine.array.shape == theirs.array.shape
        assert mine.array.tolist() == theirs.array.tolist()


_ALL: State = tuple(
    Tensor(f"{name} {shape}", name, sample(name, shape)) for name in DATATYPES for shape in ((2, 3), (), (0, 4))
)


@given(
    _COPIES,
    st.none() | st.integers(0, 2**32 - 1),
    st.binary(max_size=5000),
    st.binary(max_size=2000),
    st.none() | st.tuples(_U64, _U64, _U64, _U64),
)
def test_a_copy_comes_back_as_it_was(
    copy: Copy, state: int | None, tail: bytes, replies: bytes, slots: tuple[int, ...] | None
) -> None:
    record = CopyRecord(copy, state, tail, b"" if slots else replies, slots)
    assert decode_copy(_NAME, encode_copy(_NAME, record)) == record


@given(_COPIES, st.data())
def test_a_copy_of_which_one_bit_has_turned_is_refused(copy: Copy, data: st.DataObject) -> None:
    whole = encode_copy(_NAME, CopyRecord(copy, None, b"a state", b"replies"))
    bit = data.draw(st.integers(0, len(whole) * 8 - 1))
    torn = bytearray(whole)
    torn[bit // 8] ^= 1 << bit % 8
    with pytest.raises(Corrupt):
        decode_copy(_NAME, bytes(torn))


def test_a_copy_is_refused_under_another_name_cut_or_of_a_newer_format() -> None:
    data = encode_copy(_NAME, CopyRecord(Copy(Phase.HELD, 1)))
    for name, found in ((b"echo\x00b\x00", data), (_NAME, data[:-1]), (_NAME, b"")):
        with pytest.raises(Corrupt):
            decode_copy(name, found)


def test_a_copy_with_too_long_a_text_is_refused() -> None:
    with pytest.raises(ValueError, match="more than 255 bytes"):
        encode_copy(_NAME, CopyRecord(Copy(Phase.HELD, 1, version="v" * 256)))


def test_the_format_on_disk_stays() -> None:
    copy = Copy(Phase.MOVING, 3, 4, 5, End("ended", 6, 5), Target(7, "ab"), "1", "f0", 8, 9, 10)
    state = (Tensor("h", "FP32", np.array([[1.5]], "<f4")),)
    reply = StoredReply(5, b"dd", state)
    apart = CopyRecord(copy, 11, b"rest", b"", (5, 0, 3, 4))
    assert encode_copy(b"m\x00s\x00c", apart).hex() == (
        "4a1b449802021b000b000000660000002000000003000000000000000400000000000000050000000000000008000000"
        "0000000009000000000000000a0000000000000001310266300600000000000000050000000000000005656e64656407"
        "000000026162050000000000000000000000000000000300000000000000040000000000000072657374"
    )
    here = CopyRecord(copy, None, encode_tensors(state), encode_replies((reply,)))
    assert encode_copy(b"m\x00s\x00c", here).hex() == (
        "0777890b0202030000000000660000002e00000003000000000000000400000000000000050000000000000008000000"
        "0000000009000000000000000a0000000000000001310266300600000000000000050000000000000005656e64656407"
        "00000002616205000000000000001f000000026464010001000402010000000000000001000000000000006846503332"
        "0000c03f0100010004020100000000000000010000000000000068465033320000c03f"
    )
    assert (
        encode_state(b"m\x00s\x00s", state)[0].hex() == "0100010004020100000000000000010000000000000068465033320000c03f"
    )
    assert encode_reply(b"m\x00s\x00r0", reply).hex() == (
        "4a7970ee0205000000000000001f0000000264640100010004020100000000000000010000000000000068465033320000c03f"
    )


def test_states_of_every_datatype_come_back() -> None:
    data, checksum = encode_state(_NAME, _ALL)
    _same(decode_state(_NAME, memoryview(data), checksum), _ALL)


def test_what_is_read_does_not_change_with_what_it_was_read_from() -> None:
    data, checksum = encode_state(_NAME, _ALL)
    changing = bytearray(data)
    found = decode_state(_NAME, memoryview(changing), checksum)
    changing[:] = bytes(len(changing))
    _same(found, _ALL)


def test_a_state_that_is_not_contiguous_is_kept_in_its_order() -> None:
    array = np.arange(12, dtype="<i4").reshape(3, 4).T
    data, checksum = encode_state(_NAME, (Tensor("h", "INT32", array),))
    assert decode_state(_NAME, memoryview(data), checksum)[0].array.tolist() == array.tolist()


@pytest.mark.parametrize(
    ("size", "rest"),
    [(0, 0), (100, 0), (4079, 0), (4080, 0), (4081, 1), (4335, 255), (4336, 0), (8175, 0), (8176, 0), (8177, 1)],
)
def test_the_end_of_a_state_that_would_need_a_page_goes_elsewhere(size: int, rest: int) -> None:
    data = bytes(number % 251 for number in range(size))
    whole, end = split(data)
    assert (whole + end, len(end)) == (data, rest)
    assert not rest or (len(whole) + 16) % 4096 == 0


def test_an_older_state_of_the_same_session_is_refused() -> None:
    old, _ = encode_state(_NAME, (Tensor("h", "INT32", np.array([1], "<i4")),))
    _, checksum = encode_state(_NAME, (Tensor("h", "INT32", np.array([2], "<i4")),))
    with pytest.raises(Corrupt, match="checksum of its state"):
        decode_state(_NAME, memoryview(old), checksum)


def test_replies_come_back_and_torn_ones_are_refused() -> None:
    reply = StoredReply(2**63, b"d" * 16, _ALL)
    data = encode_reply(_NAME, reply)
    found = decode_reply(_NAME, memoryview(data))
    assert found[:2] == reply[:2]
    _same(found.outputs, reply.outputs)
    for torn in (data[:-1], data[:5], data[:40] + b"\xff" + data[41:]):
        with pytest.raises(Corrupt, match="reply"):
            decode_reply(_NAME, memoryview(torn))


def test_a_digest_tells_states_apart_by_names_types_shapes_and_bytes() -> None:
    states = [
        (Tensor("h", "FP32", np.zeros((1, 4), "<f4")),),
        (Tensor("g", "FP32", np.zeros((1, 4), "<f4")),),
        (Tensor("h", "INT32", np.zeros((1, 4), "<i4")),),
        (Tensor("h", "FP32", np.zeros((4, 1), "<f4")),),
        (Tensor("h", "FP32", np.ones((1, 4), "<f4")),),
    ]
    assert len({state_digest(state) for state in states}) == len(states)
    assert all(len(state_digest(state)) == 16 for state in states)


# --- the file of one session

_KEY = Key("echo", "kürzlich")
_REPLIES = (StoredReply(4, b"a" * 16, _ALL[:3]), StoredReply(5, b"b" * 16, ()))


@given(_COPIES, st.integers(0, 2**63))
def test_the_file_of_a_session_comes_back(copy: Copy, idle: int) -> None:
    found = unpack(pack(_KEY, Kept(copy, _ALL, _REPLIES), idle))
    assert (found.key, found.idle) == (_KEY, idle)
    assert found.kept.copy == copy._replace(digest=state_digest(_ALL))
    _same(found.kept.state, _ALL)
    assert [reply[:2] for reply in found.kept.replies] == [reply[:2] for reply in _REPLIES]
    _same(found.kept.replies[0].outputs, _REPLIES[0].outputs)


def test_the_file_of_a_session_without_tensors_comes_back() -> None:
    kept = Kept(Copy(Phase.HELD, 1, end=End("ended", 5, 3)))
    assert unpack(pack(_KEY, kept)) == (_KEY, kept, 0)


@pytest.mark.parametrize("at", [0, 8, 9, 20, 60, 200, -17, -1])
def test_a_file_of_which_a_byte_was_changed_is_refused(at: int) -> None:
    data = bytearray(pack(_KEY, Kept(Copy(Phase.HELD, 1), _ALL, _REPLIES)))
    data[at] ^= 0x40
    with pytest.raises(Corrupt):
        unpack(bytes(data))


@pytest.mark.parametrize("size", [0, 3, 8, 20, 100, -1])
def test_a_file_that_is_cut_is_refused(size: int) -> None:
    with pytest.raises(Corrupt):
        unpack(pack(_KEY, Kept(Copy(Phase.HELD, 1), _ALL, _REPLIES))[:size])


def test_a_file_of_something_else_is_told_apart_from_a_damaged_one() -> None:
    with pytest.raises(Corrupt, match="not the file of a session"):
        unpack(b"PK\x03\x04" + bytes(100))
