"""A gRPC connection without a socket, and a client's end of it that can send any bytes."""

import struct
from collections.abc import Mapping
from typing import NamedTuple

from hpack import Decoder, Encoder

from mooring_runtime.frontends.grpc import frames
from mooring_runtime.frontends.grpc.calls import App, Call, Method
from mooring_runtime.frontends.grpc.envelopes import framed
from mooring_runtime.frontends.grpc.protocol import Connection, Shared
from mooring_runtime.frontends.http.parser import Limits
from mooring_runtime.scheduling import Ticket
from tests.support.serving import FakeTransport

PATH = "/test.Service/Echo"
HEADERS = {"content-type": "application/grpc", "te": "trailers"}


class Frame(NamedTuple):
    """A frame that the server has sent."""

    kind: int
    flags: int
    stream: int
    payload: bytes

    @property
    def ends(self) -> bool:
        return bool(self.flags & frames.END_STREAM)

    @property
    def number(self) -> int:
        """The last four bytes: an error's code, or a window's increment."""
        return int.from_bytes(self.payload[-4:], "big")

    @property
    def code(self) -> int:
        """The error of a GOAWAY."""
        return int.from_bytes(self.payload[4:8], "big")


class Echo:
    """Methods that give back what they get; `/test.Service/Wait` keeps its calls in `waiting`."""

    def __init__(self) -> None:
        self.waiting: list[tuple[Call, bytes]] = []
        self.cancelled = 0
        self.talks: list[Talk] = []

    def methods(self) -> dict[bytes, Method]:
        table = [
            Method(PATH, unary=self.echo),
            Method("/test.Service/Wait", unary=self.wait),
            Method("/test.Service/Fault", unary=self.fault),
            Method("/test.Service/Talk", converse=self.talk),
        ]
        return {method.path.encode(): method for method in table}

    def echo(self, call: Call, message: bytes) -> None:
        call.reply(message)

    def wait(self, call: Call, message: bytes) -> Ticket:
        self.waiting.append((call, message))
        return self

    def cancel(self) -> None:
        self.cancelled += 1

    def fault(self, call: Call, message: bytes) -> None:
        raise ZeroDivisionError("a bug")

    def talk(self, call: Call) -> "Talk":
        self.talks.append(Talk(call))
        return self.talks[-1]


class Talk:
    """Echoes each message of a conversation at once."""

    def __init__(self, call: Call) -> None:
        self.call = call
        self.aborts = 0

    def message(self, framed: bytes) -> None:
        self.call.send(framed)

    def ended(self) -> None:
        self.call.finish()

    def taken(self) -> None:
        """Nothing is held back here."""

    def stopping(self) -> None:
        self.call.finish()

    def aborted(self) -> None:
        self.aborts += 1


class Line:
    """A connection that has greeted, unless `greet` is false."""

    def __init__(
        self,
        methods: Mapping[bytes, Method] | None = None,
        *,
        limits: Limits | None = None,
        max_message: int = 2**20,
        greet: bool = True,
        max_age: float = 0.0,
    ) -> None:
        self.echo = Echo()
        app = App(methods or self.echo.methods(), max_message)
        self.shared = Shared(app, limits or Limits(), max_age=max_age)
        self.transport = FakeTransport()
        self.connection = Connection(self.shared)
        self.connection.connection_made(self.transport)
        self.encoder = Encoder()
        self.decoder = Decoder()
        self._read = 0
        if greet:
            self.send(frames.PREFACE + frames.settings({}))
            self.frames()

    def send(self, data: bytes) -> None:
        self.connection.data_received(data)

    def block(self, path: str = PATH, **headers: str) -> bytes:
        """The header block of a request."""
        fields = {":method": "POST", ":scheme": "http", ":path": path, ":authority": "test", **HEADERS}
        # As keywords cannot: grpc_timeout is the header grpc-timeout, while Triton's own metadata have underscores.
        own = {name if name.startswith("triton") else name.replace("_", "-"): text for name, text in headers.items()}
        fields.update(own)
        return bytes(self.encoder.encode(list(fields.items())))

    def open(self, stream: int, path: str = PATH, **headers: str) -> None:
        """Begin a request."""
        self.send(frames.frame(frames.HEADERS, frames.END_HEADERS, stream, self.block(path, **headers)))

    def data(self, stream: int, payload: bytes, *, end: bool = True) -> None:
        self.send(frames.frame(frames.DATA, frames.END_STREAM if end else 0, stream, payload))

    def call(self, stream: int, message: bytes, path: str = PATH, **headers: str) -> None:
        """A whole unary request."""
        self.open(stream, path, **headers)
        self.data(stream, framed(message))

    def window(self, stream: int, increment: int) -> None:
        self.send(frames.window_update(stream, increment))

    def settings(self, values: Mapping[int, int]) -> None:
        self.send(frames.settings(values))

    def reset(self, stream: int) -> None:
        self.send(frames.rst_stream(stream, frames.Code.CANCEL))

    def frames(self) -> list[Frame]:
        """What the server has sent since it was asked last."""
        data = self.transport.written[self._read :]
        found = []
        offset = 0
        while offset < len(data):
            high, low, kind, flags, stream = frames.HEADER.unpack_from(data, offset)
            end = offset + 9 + (high << 16 | low)
            assert end <= len(data), "half a frame was written"
            found.append(Frame(kind, flags, stream, data[offset + 9 : end]))
            offset = end
        self._read += offset
        return found

    def answer(self, stream: int) -> "Answer":
        """The answer of a stream in what was sent since; other frames are forgotten."""
        answer = Answer()
        for each in self.frames():
            if each.stream == stream:
                answer.add(each, self.decoder)
        return answer

    def pass_time(self, seconds: float) -> None:
        """Let the clock run and do what the listener's sweep does then."""
        self.shared.now += seconds
        if self.connection.deadline <= self.shared.now:
            self.connection.expire()

    @property
    def end(self) -> int | None:
        """The error code with which the server ended the connection."""
        goaways = [each for each in self.frames() if each.kind == frames.GOAWAY]
        return goaways[-1].code if goaways and self.transport.closed else None


class Answer:
    """What came on one stream."""

    def __init__(self) -> None:
        self.headers: dict[str, str] = {}
        self.trailers: dict[str, str] = {}
        self.data = b""
        self.ended = False
        self.reset: int | None = None

    def add(self, each: Frame, decoder: Decoder) -> None:
        if each.kind == frames.HEADERS:
            fields: dict[str, str] = {}
            for name, value in decoder.decode(each.payload):
                fields[str(name)] = str(value)
            if each.ends:
                self.trailers = fields
            else:
                self.headers = fields
        elif each.kind == frames.DATA:
            self.data += each.payload
        elif each.kind == frames.RST_STREAM:
            self.reset = each.number
        self.ended = self.ended or each.ends

    @property
    def status(self) -> int:
        return int(self.trailers["grpc-status"])

    @property
    def messages(self) -> list[bytes]:
        """The messages, without the five bytes before each."""
        found, rest = [], self.data
        while rest:
            flag, length = struct.unpack_from(">BI", rest)
            assert flag == 0
            found.append(rest[5 : 5 + length])
            rest = rest[5 + length :]
        return found
