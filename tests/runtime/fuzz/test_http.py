"""Bytes that are almost HTTP/1.1, in pieces of any size: each connection is answered or ended, and in time."""

import gzip
import logging
from random import Random

import pytest

from mooring_runtime.frontends.http.parser import Limits
from tests.support import mutations
from tests.support.serving import Line, Served, http

pytestmark = pytest.mark.timeout(300)

LIMITS = Limits(header_bytes=600, body_bytes=2000)
INFER = b'{"inputs": [{"name": "in_FP32", "shape": [1, 2], "datatype": "FP32", "data": [1, 2]}]}'
TARGET = "/v2/models/echo/infer"
CHUNKED = b"%x\r\n%s\r\n0\r\nTrailer: x\r\n\r\n" % (len(INFER), INFER)
REQUESTS = (
    http("GET", "/v2/health/live"),
    http("POST", TARGET, INFER),
    http("POST", TARGET, INFER) * 3,
    http("POST", TARGET, INFER, {b"Expect": b"100-continue"}),
    http("POST", TARGET, gzip.compress(INFER), {b"Content-Encoding": b"gzip", b"Accept-Encoding": b"gzip"}),
    http("GET", "/v2", headers={b"Upgrade": b"h2c", b"Connection": b"Upgrade, HTTP2-Settings"}),
    http("HEAD", "/v2/models/echo") + http("OPTIONS", "/", headers={b"Connection": b"close"}),
    f"POST {TARGET} HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n".encode() + CHUNKED,
    b"GET http://h/v2/models/a%2Fb HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
)


def test_every_connection_is_answered_or_ended(long: bool, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL)
    random = Random(1)
    served = Served()
    for number in range(1_000_000 if long else 60_000):
        data = mutations.stream(random, random.choice(REQUESTS))
        line = Line(served.app, LIMITS)
        rest = data
        while rest and not line.transport.is_closing():
            size = random.choice((1, 7, 50, len(rest)))
            line.send(rest[:size])
            rest = rest[size:]
        told = f"connection {number}: {data!r} gave {line.received!r}"
        for reply in line.replies:
            assert reply.status < 500 or reply.status == 501, told
        assert line.received.startswith(b"HTTP/1.1 ") or not line.received, told
        for _ in range(4):  # Its time is up, its answer is sent, and the client does not hang up.
            line.pass_time(1000)
        assert line.transport.is_closing(), told
