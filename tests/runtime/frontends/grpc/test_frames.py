import pytest
from hpack import Decoder
from hypothesis import given
from hypothesis import strategies as st

from mooring_runtime.frontends.grpc import frames
from mooring_runtime.frontends.grpc.frames import ConnectionFault


def test_a_frame_begins_with_its_length_kind_flags_and_stream() -> None:
    assert frames.frame(frames.PING, frames.ACK, 0, b"12345678") == bytes.fromhex("000008060100000000") + b"12345678"
    assert frames.frame(frames.DATA, 0, 5, b"x" * 0x012345)[:9] == bytes.fromhex("012345000000000005")


def test_frames_of_the_connection() -> None:
    assert frames.settings({3: 7}).hex() == "00000604000000000000" + "0300000007"
    assert frames.window_update(9, 1).hex() == "000004080000000009" + "00000001"
    assert frames.rst_stream(9, frames.Code.CANCEL).hex() == "000004030000000009" + "00000008"
    assert (
        frames.goaway(5, frames.Code.NO_ERROR, "why").hex() == "00000b070000000000" + "0000000500000000" + b"why".hex()
    )


@pytest.mark.parametrize("padding", [b"\x00abc", b"\x02abc\0\0", b"\x05abc\0\0\0\0\0"])
def test_padding_is_taken_off(padding: bytes) -> None:
    assert frames.unpadded(frames.PADDED, padding) == b"abc"


@pytest.mark.parametrize("padding", [b"", b"\x01", b"\x04abc"])
def test_more_padding_than_payload_is_a_fault(padding: bytes) -> None:
    with pytest.raises(ConnectionFault, match="more padding than payload"):
        frames.unpadded(frames.PADDED, padding)


@given(st.binary(max_size=70_000), st.binary(max_size=300))
def test_a_literal_is_read_by_another_implementation(value: bytes, name: bytes) -> None:
    decoder = Decoder(max_header_list_size=2**20)
    assert list(decoder.decode(frames.literal(name, value), raw=True)) == [(name, value)]
    assert decoder.header_table.dynamic_entries == type(decoder.header_table.dynamic_entries)()
