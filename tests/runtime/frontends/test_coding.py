import gzip
import zlib
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mooring_runtime.errors import BodyTooLarge, MalformedHttp, UnknownEncoding
from mooring_runtime.frontends.http.coding import Inflater, accepted, deflate

CODINGS: dict[bytes, Callable[[bytes], bytes]] = {b"gzip": gzip.decompress, b"deflate": zlib.decompress}


@pytest.mark.parametrize("coding", CODINGS)
@settings(deadline=None)
@given(body=st.binary(max_size=2000), cut=st.integers(1, 100))
def test_what_is_compressed_is_inflated_again(coding: bytes, body: bytes, cut: int) -> None:
    packed = deflate(coding, (body[:cut], memoryview(body)[cut:]))
    assert CODINGS[coding](packed) == body
    inflater = Inflater(coding, len(body))
    pieces = [inflater.feed(packed[i : i + cut]) for i in range(0, len(packed), cut)]
    inflater.finish()
    assert b"".join(pieces) == body


def test_several_gzip_members_are_one_body() -> None:
    inflater = Inflater(b"x-gzip", 100)
    assert inflater.feed(gzip.compress(b"one") + gzip.compress(b"two")) == b"onetwo"
    inflater.finish()


def test_a_bomb_is_stopped_at_the_limit() -> None:
    bomb = gzip.compress(b"\0" * 10_000_000)
    assert len(bomb) < 10_000
    with pytest.raises(BodyTooLarge, match="passes the limit of 1000 bytes when it is decompressed"):
        Inflater(b"gzip", 1000).feed(bomb)


def test_the_limit_itself_is_allowed() -> None:
    inflater = Inflater(b"gzip", 1000)
    assert len(inflater.feed(gzip.compress(b"x" * 1000))) == 1000
    inflater.finish()


def test_a_stream_that_ends_early_or_is_none() -> None:
    inflater = Inflater(b"gzip", 100)
    inflater.feed(gzip.compress(b"abc")[:-1])
    with pytest.raises(MalformedHttp, match="ends too early"):
        inflater.finish()
    with pytest.raises(MalformedHttp, match="not what Content-Encoding says"):
        Inflater(b"gzip", 100).feed(b"not gzip at all")


def test_an_empty_body_needs_no_stream() -> None:
    Inflater(b"gzip", 100).finish()


def test_an_unknown_coding_is_named() -> None:
    with pytest.raises(UnknownEncoding, match="Content-Encoding 'br' is not understood; send gzip, deflate or none"):
        Inflater(b"br", 100)


@pytest.mark.parametrize(
    ("header", "coding"),
    [
        (b"gzip", b"gzip"),
        (b"deflate", b"deflate"),
        (b"gzip, deflate, br, zstd", b"gzip"),
        (b"gzip;q=0.5, deflate;q=0.9", b"deflate"),
        (b"gzip;q=0, deflate;q=0", None),
        (b"identity", None),
        (b"", None),
        (b"*", b"gzip"),
        (b"*;q=0.1, gzip;q=0", b"deflate"),
        (b"br, *;q=0", None),
        (b"gzip;q=nonsense", None),
    ],
)
def test_the_client_chooses_the_coding(header: bytes, coding: bytes | None) -> None:
    assert accepted(header) == coding
