"""Messages of gRPC as bytes: cut out of what arrives, unpacked, and the words at the end of a call."""

import random
import tracemalloc
import zlib

import pytest
from hpack import Decoder

from mooring_runtime.errors import BodyTooLarge, InvalidRequest, QueueFull
from mooring_runtime.frontends.grpc.envelopes import WINDOW_BITS, Reader, framed, trailers, unpacked


def packed(message: bytes) -> bytes:
    return b"\1" + len(message).to_bytes(4, "big") + message


@pytest.mark.parametrize("size", [0, 1, 2**16, 2**20 - 1, 2**20, 2**20 + 1, 3 * 2**20])
@pytest.mark.parametrize("level", [0, 9])
def test_what_was_packed_is_unpacked(size: int, level: int) -> None:
    message = random.Random(size).randbytes(size) if level == 0 else bytes(size)
    whole = packed(zlib.compress(message, level))
    assert unpacked(whole, WINDOW_BITS[b"deflate"], size) == framed(message)
    if size:
        with pytest.raises(BodyTooLarge):
            unpacked(whole, WINDOW_BITS[b"deflate"], size - 1)
        with pytest.raises(InvalidRequest, match="ends too early"):
            unpacked(whole[:-1], WINDOW_BITS[b"deflate"], size)


def test_a_bomb_takes_no_more_memory_than_the_limit() -> None:
    bomb = packed(zlib.compress(bytes(2**26), 1))
    tracemalloc.start()
    try:
        with pytest.raises(BodyTooLarge, match="over 4194304 bytes when unpacked"):
            unpacked(bomb, WINDOW_BITS[b"deflate"], 2**22)
        assert tracemalloc.get_traced_memory()[1] < 2**23
    finally:
        tracemalloc.stop()


def test_the_words_of_a_status_are_percent_encoded() -> None:
    fields = dict(Decoder().decode(trailers(QueueFull("50% of 'é'\n")), raw=True))
    assert fields[b"grpc-message"] == b"50%25 of '%C3%A9'%0A"
    assert (fields[b"grpc-status"], fields[b"mooring-cause"]) == (b"14", b"queue_full")


def test_small_pieces_are_put_together() -> None:
    reader = Reader(2**20)
    message = framed(bytes(range(256)) * 400)
    for index in range(len(message)):
        reader.feed(message[index : index + 1])
    assert len(reader._pieces) < 10
    assert reader.next() == message
    assert reader.next() is None


@pytest.mark.parametrize("seed", range(20))
def test_any_messages_in_any_pieces(seed: int) -> None:
    made = random.Random(seed)
    sent = [framed(made.randbytes(made.choice([0, 1, 5, 100, 5000, 70_000]))) for _ in range(40)]
    whole, found, start = b"".join(sent), [], 0
    reader = Reader(2**20)
    while start < len(whole):
        size = made.choice([0, 1, 3, 200, 4096, 16384])
        reader.feed(whole[start : start + size])
        start += size
        while made.random() < 0.7 and (message := reader.next()) is not None:
            found.append(message)
    while (message := reader.next()) is not None:
        found.append(message)
    assert found == sent
    assert (reader.size, reader.total, len(reader._pieces)) == (0, len(whole), 0)


def test_what_is_behind_a_message_is_not_copied_for_it() -> None:
    reader = Reader(2**20)
    data = framed(b"x") * 10_000
    reader.feed(data)
    for _ in range(9999):
        assert reader.next() == framed(b"x")
        assert reader._pieces[0] is data
