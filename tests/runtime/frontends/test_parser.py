import gzip
import itertools
import tracemalloc
import zlib
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mooring_runtime.errors import (
    BodyTooLarge,
    ExpectationFailed,
    HeadTooLarge,
    MalformedHttp,
    RequestError,
    UnknownEncoding,
    UnknownTransferCoding,
)
from mooring_runtime.frontends.http.messages import Head, Request
from mooring_runtime.frontends.http.parser import Limits, RequestParser

ZIPPED = gzip.compress(b"a", mtime=0)
SMALL = Limits(header_bytes=200, body_bytes=20)
Seen = list[tuple[bytes, bytes, bytes, bytes, bool]]


def parse(
    pieces: Sequence[bytes], limits: Limits = SMALL, known: dict[bytes, Head] | None = None
) -> tuple[Seen, type[RequestError] | None]:
    """What came out of a stream: the requests, and the error that ended it. `known` are heads seen before."""
    seen: Seen = []

    def keep(request: Request) -> None:
        headers = b"\n".join(b"%s=%s" % item for item in sorted(request.headers.items()))
        seen.append((request.method, request.target, headers, request.body, request.keep_alive))

    parser = RequestParser(limits, keep, lambda: None, known)
    for piece in pieces:
        try:
            parser.feed(piece)
        except RequestError as error:
            return seen, type(error)
    return seen, None


def post(body: bytes, *headers: bytes, target: bytes = b"/a") -> bytes:
    return b"\r\n".join([b"POST %s HTTP/1.1" % target, b"Host: h", *headers, b"", body])


STREAM = b"".join(
    [
        post(b"abc", b"Content-Length: 3"),
        b"GET /%C3%A4?x=1 HTTP/1.1\r\nHost: h\r\nX-Two: 1\r\nX-Two: 2\r\n\r\n",
        post(b"3\r\nabc\r\n4;x=y\r\ndefg\r\n0\r\nTrailer: t\r\n\r\n", b"Transfer-Encoding: Chunked"),
        b"\r\n\r\nGET /upgrade HTTP/1.1\r\nHost: h\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n\r\n",
        post(b"xy", b"Content-Length: 2", b"Connection: Upgrade", b"Upgrade: h2c"),
        post(
            gzip.compress(b"inflated"),
            b"Content-Encoding: gzip",
            b"Content-Length: %d" % len(gzip.compress(b"inflated")),
        ),
        b"HEAD /last HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n",
        b"garbage after the last request",
    ]
)
WHOLE = parse([STREAM], Limits())


def test_the_stream_is_what_it_should_be() -> None:
    seen, error = WHOLE
    assert error is None
    assert [(method, target, body) for method, target, _, body, _ in seen] == [
        (b"POST", b"/a", b"abc"),
        (b"GET", b"/%C3%A4?x=1", b""),
        (b"POST", b"/a", b"abcdefg"),
        (b"GET", b"/upgrade", b""),
        (b"POST", b"/a", b"xy"),
        (b"POST", b"/a", b"inflated"),
        (b"HEAD", b"/last", b""),
    ]
    assert b"x-two=1, 2" in seen[1][2]
    assert b"trailer" not in seen[2][2]
    assert [request[-1] for request in seen] == [True] * 6 + [False]


def test_the_stream_cut_in_two_anywhere_parses_the_same() -> None:
    for cut in range(1, len(STREAM)):
        assert parse([STREAM[:cut], STREAM[cut:]], Limits()) == WHOLE, cut


def test_the_stream_byte_by_byte_parses_the_same() -> None:
    assert parse([STREAM[i : i + 1] for i in range(len(STREAM))], Limits()) == WHOLE


@settings(deadline=None, max_examples=50)
@given(cuts=st.lists(st.integers(0, len(STREAM)), max_size=12))
def test_the_stream_cut_anywhere_parses_the_same(cuts: list[int]) -> None:
    places = [0, *sorted(cuts), len(STREAM)]
    pieces = [STREAM[start:end] for start, end in itertools.pairwise(places) if start < end]
    assert parse(pieces, Limits()) == WHOLE


WRONG = {
    "no HTTP at all": (b"\x16\x03\x01\x02\x00\x01\x00", MalformedHttp),
    "another method": (b"BREW /a HTTP/1.1\r\nHost: h\r\n\r\n", MalformedHttp),
    "HTTP/2 preface": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", MalformedHttp),
    "no host": (b"GET /a HTTP/1.1\r\n\r\n", MalformedHttp),
    "two hosts": (b"GET /a HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", MalformedHttp),
    "length and chunked": (post(b"", b"Content-Length: 1", b"Transfer-Encoding: chunked"), MalformedHttp),
    "two lengths": (post(b"a", b"Content-Length: 1", b"Content-Length: 1"), MalformedHttp),
    "a length with a sign": (post(b"a", b"Content-Length: +1"), MalformedHttp),
    "a folded header": (b"GET /a HTTP/1.1\r\nHost: h\r\nX: a\r\n b\r\n\r\n", MalformedHttp),
    "a space before the colon": (b"GET /a HTTP/1.1\r\nHost : h\r\n\r\n", MalformedHttp),
    "a bare line feed": (b"GET /a HTTP/1.1\nHost: h\n\n", MalformedHttp),
    "a zero byte": (b"GET /a HTTP/1.1\r\nHost: h\0\r\n\r\n", MalformedHttp),
    "a chunk without size": (post(b"x\r\n", b"Transfer-Encoding: chunked"), MalformedHttp),
    "a tunnel": (b"CONNECT a:1 HTTP/1.1\r\nHost: h\r\n\r\n", MalformedHttp),
    "an unknown transfer coding": (post(b"", b"Transfer-Encoding: gzip, chunked"), UnknownTransferCoding),
    "an unknown last transfer coding": (post(b"", b"Transfer-Encoding: gzip"), UnknownTransferCoding),
    "an unknown expectation": (post(b"", b"Expect: a miracle", b"Content-Length: 1"), ExpectationFailed),
    "a body that says it is too long": (post(b"", b"Content-Length: 21"), BodyTooLarge),
    "chunks that are too long": (post(b"15\r\n" + b"x" * 21 + b"\r\n", b"Transfer-Encoding: chunked"), BodyTooLarge),
    "a body that inflates too far": (
        post(zlib.compress(b"x" * 21), b"Content-Encoding: deflate", b"Content-Length: 11"),
        BodyTooLarge,
    ),
    "a body that does not inflate": (post(b"abc", b"Content-Encoding: gzip", b"Content-Length: 3"), MalformedHttp),
    "a compressed body that is cut": (
        post(zlib.compress(b"abc")[:-1], b"Content-Encoding: deflate", b"Content-Length: 10"),
        MalformedHttp,
    ),
    "an unknown content coding": (post(b"", b"Content-Encoding: br", b"Content-Length: 1"), UnknownEncoding),
    "a long target": (b"GET /" + b"x" * 200 + b" HTTP/1.1\r\nHost: h\r\n\r\n", HeadTooLarge),
    "a long header": (b"GET /a HTTP/1.1\r\nHost: h\r\nX: " + b"x" * 200 + b"\r\n\r\n", HeadTooLarge),
    "many headers": (b"GET /a HTTP/1.1\r\nHost: h\r\n" + b"X: x\r\n" * 40 + b"\r\n", HeadTooLarge),
    "long trailers": (
        post(b"0\r\n" + b"X: x\r\n" * 40 + b"\r\n", b"Transfer-Encoding: chunked"),
        HeadTooLarge,
    ),
}


@pytest.mark.parametrize(("stream", "error"), WRONG.values(), ids=WRONG)
def test_what_cannot_be_read_is_refused(stream: bytes, error: type[RequestError]) -> None:
    assert parse([stream]) == ([], error)


@pytest.mark.parametrize(("stream", "error"), WRONG.values(), ids=WRONG)
def test_it_is_refused_after_a_good_request_and_in_pieces(stream: bytes, error: type[RequestError]) -> None:
    good = b"GET /a HTTP/1.1\r\nHost: h\r\n\r\n"
    seen, found = parse([good, *[stream[i : i + 7] for i in range(0, len(stream), 7)]])
    assert len(seen) == 1
    assert found is error


def test_a_header_that_never_ends_is_refused() -> None:
    pieces = [b"GET /a HTTP/1.1\r\nHost: h\r\nX: ", *[b"x" * 50] * 10]
    assert parse(pieces) == ([], HeadTooLarge)


def test_nothing_is_parsed_after_an_error() -> None:
    seen: list[Request] = []
    parser = RequestParser(SMALL, seen.append, lambda: None)
    with pytest.raises(MalformedHttp):
        parser.feed(b"garbage\r\n\r\n")
    parser.feed(b"GET /a HTTP/1.1\r\nHost: h\r\n\r\n")
    assert seen == []


def test_an_old_client_needs_no_host_and_keeps_nothing_alive() -> None:
    assert parse([b"GET /a HTTP/1.0\r\n\r\n"]) == ([(b"GET", b"/a", b"", b"", False)], None)
    [request], _ = parse([b"GET /a HTTP/1.0\r\nConnection: keep-alive\r\n\r\n"])
    assert request[-1]


def test_who_expects_leave_to_send_is_told_once() -> None:
    asked: list[bool] = []
    seen: list[Request] = []
    parser = RequestParser(SMALL, seen.append, lambda: asked.append(parser.expecting))
    parser.feed(post(b"", b"Expect: 100-Continue", b"Content-Length: 3"))
    assert asked == [True]
    parser.feed(b"abc")
    assert [request.body for request in seen] == [b"abc"]
    assert not parser.expecting


@settings(deadline=None, max_examples=60)
@given(st.binary(max_size=300))
def test_no_bytes_break_the_parser(data: bytes) -> None:
    for pieces in ([data], [data[:7], data[7:]], [b"POST / HTTP/1.1\r\nHost: h\r\n", data]):
        _, error = parse(pieces)
        assert error is None or issubclass(error, RequestError)


OFFER = (b"Connection: Upgrade", b"Upgrade: h2c")
OFFERED = b"GET /a HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n"


@pytest.mark.parametrize(
    ("stream", "requests", "error"),
    [
        (post(b"abc", *OFFER, b"Content-Encoding: gzip", b"Content-Length: 3"), 0, MalformedHttp),
        (OFFERED + b"GET /b HTTP/1.1\r\n\r\n", 1, MalformedHttp),
        (OFFERED + b"garbage\r\n\r\n", 1, MalformedHttp),
        (OFFERED + OFFERED + b"GET /b HTTP/1.1\r\n\r\n", 2, MalformedHttp),
        (OFFERED.replace(b"Host: h\r\n", b""), 0, MalformedHttp),
        (post(b"", *OFFER, b"Content-Length: 21"), 0, BodyTooLarge),
        (post(b"", *OFFER, b"Transfer-Encoding: gzip"), 0, UnknownTransferCoding),
    ],
)
def test_a_refusal_after_an_offer_to_upgrade_is_the_same_refusal(
    stream: bytes, requests: int, error: type[RequestError]
) -> None:
    for pieces in ([stream], [stream[i : i + 1] for i in range(len(stream))]):
        seen, found = parse(pieces)
        assert (len(seen), found) == (requests, error)


@pytest.mark.parametrize(
    ("line", "connection", "keep_alive"),
    [
        (b"HTTP/1.0", b"Upgrade", False),
        (b"HTTP/1.0", b"Upgrade, keep-alive", True),
        (b"HTTP/1.1\r\nHost: h", b"Upgrade, close", False),
        (b"HTTP/1.1\r\nHost: h", b"Upgrade", True),
    ],
)
def test_a_declined_offer_changes_neither_version_nor_persistence(
    line: bytes, connection: bytes, keep_alive: bool
) -> None:
    seen: list[Request] = []
    parser = RequestParser(SMALL, seen.append, lambda: None)
    parser.feed(b"GET /a %s\r\nConnection: %s\r\nUpgrade: h2c\r\n\r\n" % (line, connection))
    [request] = seen
    assert (request.modern, request.keep_alive) == (line != b"HTTP/1.0", keep_alive)


def test_many_offers_in_one_piece_are_declined_one_after_another() -> None:
    seen, error = parse([OFFERED * 1000])
    assert (len(seen), error) == (1000, None)


def test_who_offers_to_upgrade_is_given_leave_to_send_once() -> None:
    asked: list[bool] = []
    parser = RequestParser(SMALL, lambda request: None, lambda: asked.append(parser.expecting))
    parser.feed(post(b"", *OFFER, b"Expect: 100-continue", b"Content-Length: 3"))
    assert asked == [True]


@pytest.mark.parametrize(
    "start", [b"0\r\nx: ", b"0\r\nx", b"3\r\nabc\r\n0\r\nx: y\r\nz: ", b"3;x=", b"3\r\nabc\r\n0;x="]
)
def test_a_trailer_or_a_chunk_extension_that_never_ends_is_refused(start: bytes) -> None:
    stream = post(start, b"Transfer-Encoding: chunked")
    seen, error = parse([stream, *[b"x" * 50] * 4])
    assert (seen, error) == ([], None)
    assert parse([stream, *[b"x" * 50] * 5]) == ([], HeadTooLarge)


def test_a_long_body_in_small_chunks_and_pieces_is_no_long_trailer() -> None:
    stream = post(b"1;x=y\r\na\r\n" * 60 + b"0\r\nx: y\r\n\r\n", b"Transfer-Encoding: chunked")
    seen, error = parse([stream[i : i + 1] for i in range(len(stream))], Limits(header_bytes=60))
    assert error is None
    assert [request[3] for request in seen] == [b"a" * 60]


def test_a_body_in_tiny_chunks_takes_the_memory_of_the_body() -> None:
    seen: list[bytes] = []
    parser = RequestParser(Limits(), lambda request: seen.append(request.body), lambda: None)
    parser.feed(post(b"", b"Transfer-Encoding: chunked"))
    piece = b"2\r\nab\r\n" * 1000
    tracemalloc.start()
    try:
        for _ in range(50):
            parser.feed(piece)
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert held < 2 * 100_000
    parser.feed(b"2000\r\n" + b"c" * 0x2000 + b"\r\n" + piece + b"0\r\n\r\n")
    assert seen == [b"ab" * 50_000 + b"c" * 0x2000 + b"ab" * 1000]


KNOWN_STREAM = [
    post(b"abc", b"Content-Length: 3"),
    post(b"xyz", b"Content-Length: 3"),
    b"GET /g HTTP/1.1\r\nHost: h\r\n\r\n",
    b"GET /g HTTP/1.1\r\nHost: h\r\n\r\n",
    post(b"abc", b"Content-Length: 3"),
    post(b"", b"Content-Length: 0", target=b"/e"),
    post(b"", b"Content-Length: 0", target=b"/e"),
]


@pytest.mark.parametrize("cut", range(len(b"".join(KNOWN_STREAM)) + 1))
def test_a_head_that_is_known_makes_no_difference(cut: int) -> None:
    known: dict[bytes, Head] = {}
    first = parse(KNOWN_STREAM, known=known)
    assert known
    stream = b"".join(KNOWN_STREAM)
    assert first == parse([stream]) == parse(KNOWN_STREAM, known=known)
    assert parse([stream[:cut], stream[cut:]], known=known) == first


def test_a_known_head_is_parsed_once() -> None:
    heads: list[Head] = []
    parser = RequestParser(SMALL, lambda request: heads.append(request.head), lambda: None)
    for body in (b"abc", b"xyz"):
        parser.feed(post(body, b"Content-Length: 3"))
    parser.feed(post(b"abcd", b"Content-Length: 4"))
    parser.feed(post(b"efg", b"Content-Length: 3"))
    assert heads[0] is heads[1] is heads[3]
    assert heads[0] is not heads[2]


@pytest.mark.parametrize(
    "request_",
    [
        post(b"3\r\nabc\r\n0\r\n\r\n", b"Transfer-Encoding: chunked"),
        post(ZIPPED, b"Content-Encoding: gzip", b"Content-Length: %d" % len(ZIPPED)),
        post(b"abc", b"Content-Length: 3", b"Expect: 100-continue"),
        post(b"abc", b"Content-Length: 3", b"Connection: close"),
        b"\r\n\r\n" + post(b"abc", b"Content-Length: 3"),
        post(b"abc", b"Content-Length: 3") * 2,
        post(b"abc", b"Content-Length: 3")[:-1],
        post(b"", b"X: " + b"x" * 1100),
    ],
)
def test_only_plain_heads_are_kept(request_: bytes) -> None:
    known: dict[bytes, Head] = {}
    parse([request_], Limits(header_bytes=4000), known=known)
    assert known == {}


def test_heads_that_never_come_again_do_not_fill_the_memory() -> None:
    known: dict[bytes, Head] = {}
    parser = RequestParser(SMALL, lambda request: None, lambda: None, known)
    for number in range(3000):
        parser.feed(post(b"", b"X-Request-Id: %d" % number))
    assert len(known) <= 1024
