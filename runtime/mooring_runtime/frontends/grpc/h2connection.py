"""One HTTP/2 connection of a server, without I/O: bytes in by `receive`, bytes out by `write`; streams in between.

Whatever the peer does, these hold:

- What it may have in memory here is bounded: streams, windows, header blocks, and what is queued for a stream that it
  does not take.
- Work that it causes without asking for anything (resets, pings, settings, empty frames) is drawn from a budget that
  time and answered requests fill again; a peer that spends more is told to calm down and is disconnected.
- Its windows are kept to, and so must it keep to ours.
- A header block is decoded whatever becomes of its stream, since the tables of both sides must stay equal.
"""

from collections.abc import Callable
from typing import Generic

from mooring_runtime.frontends.grpc import frames
from mooring_runtime.frontends.grpc.field_table import Fields
from mooring_runtime.frontends.grpc.frames import Code, ConnectionFault, StreamFault
from mooring_runtime.frontends.grpc.h2send import FIRST_WINDOW, LARGEST_SENT, Limits, Sender, Stream
from mooring_runtime.frontends.grpc.headers import Head, HeadReader

_BUDGET = 2000.0
"""Idle work that a peer may cause at once; Go and nghttp2 allow half of it for resets alone."""
_REFILL = 50.0
"""How much of it comes back each second."""
_SMALL_UPDATE = 256
"""Bytes of window below which an update is idle work: honest peers collect them."""
_DRAIN_PING = b"draining"
# The path of every request reads these; flags stand there as numbers: 1 the stream's end, 4 the block's, 8 padding.
_unpack = frames.HEADER.unpack_from
_NUMBER, _MAX_FRAME = frames.MAX_WINDOW, frames.MAX_FRAME
_DRESSED = frames.PADDED | frames.HAS_PRIORITY


class H2Connection(Sender, Generic[Head]):
    """See the module. `read_head` makes a Head of a request's fields or raises StreamFault; `accept` its stream."""

    def __init__(
        self,
        limits: Limits,
        read_head: Callable[[Fields], Head],
        accept: Callable[["H2Connection[Head]", int, Head], Stream],
        now: Callable[[], float],
    ) -> None:
        super().__init__(limits)
        self._accept = accept
        self._now = now
        self._rest = b""
        self._greeted = self._settled = False
        self._credit = limits.window
        self._low = limits.window >> 1
        self._heads = HeadReader(limits.header_bytes, read_head)
        self._opening: tuple[int, int, bytearray] | None = None
        """Stream, flags and block so far of headers that continue in the next frame."""
        self._last = 0
        self._draining = self._final = False
        self._idle_since = 0.0

    # --- life

    def greet(self) -> None:
        """Send what a server says first."""
        told = {
            frames.MAX_CONCURRENT_STREAMS: self.limits.streams,
            frames.INITIAL_WINDOW_SIZE: self.limits.stream_window,
            frames.MAX_HEADER_LIST_SIZE: self.limits.header_bytes,
        }
        self.write(frames.settings(told) + frames.window_update(0, self.limits.window - FIRST_WINDOW))
        self._idle_since = self._now()

    @property
    def in_head(self) -> bool:
        """Whether the peer is in the midst of what it must send quickly: its greeting, or a header block."""
        return not self._settled or self._opening is not None

    def drain(self) -> None:
        """Tell the peer to open no more streams; those that it opens before it has read that are still answered."""
        if not self._draining and not self.closed:
            self._draining = True
            self.write(frames.goaway(frames.MAX_WINDOW, Code.NO_ERROR) + frames.frame(frames.PING, 0, 0, _DRAIN_PING))

    def refuse(self) -> None:
        """Take no more streams, and hang up when those that are open have ended."""
        if self.closed:
            return
        if not self._final:
            self._draining = self._final = True
            self.write(frames.goaway(self._last, Code.NO_ERROR))
        if not self.streams:
            self.hang_up()

    def hang_up(self) -> None:
        """Nothing is left to do here; a subclass closes the socket."""
        self.closed = True

    def lost(self) -> None:
        """The connection is gone."""
        self.closed = True
        streams = list(self.streams.values())
        self.streams.clear()
        self._blocked.clear()
        for stream in streams:
            stream.aborted()

    def fail(self, code: Code, text: str) -> None:
        """Say why, and end the connection with everything on it."""
        if not self.closed:
            self.write(frames.goaway(self._last, code, text))
            self.hang_up()
            self.lost()

    def ping(self) -> None:
        """Ask whether anybody is there."""
        if not self.closed:
            self.write(frames.frame(frames.PING, 0, 0, b"whosthat"))

    # --- in

    def receive(self, data: bytes) -> None:
        """Bytes have arrived."""
        if self.closed:
            return
        if self._rest:
            data = self._rest + data
        try:
            self._rest = self._read(data)
        except ConnectionFault as fault:
            self.fail(fault.code, str(fault))

    def _read(self, data: bytes) -> bytes:
        """Act on every whole frame; what is left over."""
        offset, size = 0, len(data)
        if not self._greeted:
            if not (data if size < 24 else data[:24]) == frames.PREFACE[:size]:
                raise ConnectionFault(Code.PROTOCOL_ERROR, "this port speaks gRPC, which begins with HTTP/2's preface")
            if size < 24:
                return data
            self._greeted = True
            offset = 24
        while size - offset >= 9 and not self.closed:
            high, low, kind, flags, number = _unpack(data, offset)
            length = high << 16 | low
            start = offset + 9
            offset = start + length
            if length > _MAX_FRAME:
                raise ConnectionFault(Code.FRAME_SIZE_ERROR, f"a frame of {length} bytes, the limit is 16384")
            if offset > size:
                return data[start - 9 :]
            number &= _NUMBER
            if self._opening is not None:
                self._continue(kind, flags, number, data[start:offset])
            elif kind == 0 and self._settled:
                self._data(flags, number, data[start:offset])
            elif kind == 1 and self._settled:
                self._headers(flags, number, data[start:offset])
            else:
                self._control(kind, flags, number, data[start:offset])
        return data[offset:]

    def _data(self, flags: int, number: int, payload: bytes) -> None:
        length = len(payload)
        self._credit -= length
        if self._credit < self._low:
            self._renew()
        stream = self.streams.get(number)
        if stream is None:
            self._unknown(number, "DATA")
            return
        if stream.peer_ended:
            self._break(stream, Code.STREAM_CLOSED)
            return
        stream.credit -= length
        if stream.credit < 0:
            self._break(stream, Code.FLOW_CONTROL_ERROR)
            return
        if flags & 8:
            payload = frames.unpadded(flags, payload)
        if flags & 1:
            stream.peer_ended = True
            stream.received(payload, ended=True)
            return
        if not payload:
            self._charge(1)
        stream.received(payload, ended=False)
        if stream.credit < self.limits.stream_window >> 1 and not stream.held:
            self.nourish(stream)

    def _renew(self) -> None:
        if self._credit < 0:
            raise ConnectionFault(Code.FLOW_CONTROL_ERROR, "more DATA than the connection's window")
        self.write(frames.window_update(0, self.limits.window - self._credit))
        self._credit = self.limits.window

    def _unknown(self, number: int, what: str) -> None:
        """A frame for a stream that is not open: one that has ended or came too late is normal, any other is not."""
        if number == 0 or (number > self._last and not self._final) or not number & 1:
            raise ConnectionFault(Code.PROTOCOL_ERROR, f"{what} on stream {number}, which is not open")

    def _headers(self, flags: int, number: int, payload: bytes) -> None:
        if flags & _DRESSED:
            payload = frames.unpadded(flags, payload)
            if flags & frames.HAS_PRIORITY:
                if len(payload) < 5:
                    raise ConnectionFault(Code.FRAME_SIZE_ERROR, "HEADERS too short for its priority")
                payload = payload[5:]
        if flags & 4:
            self._open(flags, number, payload)
        else:
            self._opening = (number, flags, bytearray(payload))

    def _continue(self, kind: int, flags: int, number: int, payload: bytes) -> None:
        """The next piece of a header block; anything else here would leave the tables unequal."""
        assert self._opening is not None
        opened, first_flags, block = self._opening
        if kind != frames.CONTINUATION or number != opened:
            raise ConnectionFault(Code.PROTOCOL_ERROR, "a header block is not continued")
        self._charge(1 if payload else 100)
        block += payload
        if len(block) > self.limits.header_bytes:
            raise ConnectionFault(Code.ENHANCE_YOUR_CALM, f"a header block of over {self.limits.header_bytes} bytes")
        if flags & frames.END_HEADERS:
            self._opening = None
            self._open(first_flags, number, bytes(block))

    def _open(self, flags: int, number: int, block: bytes) -> None:
        """A whole header block: of a request, or the trailers of one."""
        stream = self.streams.get(number)
        if stream is not None:
            self._trailers(stream, flags, block)
            return
        try:
            head = self._heads.head(block)
        except StreamFault as fault:
            self._register(number)
            self._charge(1)
            self.write(frames.rst_stream(number, fault.code))
            return
        if not self._register(number):
            return
        if len(self.streams) >= self.limits.streams:
            self._charge(1)
            self.write(frames.rst_stream(number, Code.REFUSED_STREAM))
            return
        self.streams[number] = stream = self._accept(self, number, head)
        if flags & 1:
            stream.peer_ended = True
            stream.received(b"", ended=True)

    def _register(self, number: int) -> bool:
        """Hold the number of a new stream against the rules; false when its request is not to be answered."""
        if not number & 1:
            raise ConnectionFault(Code.PROTOCOL_ERROR, f"HEADERS on stream {number}; those of clients are odd")
        if number <= self._last:  # One that we have reset may still send trailers.
            self._charge(1)
            return False
        if self._final:  # Told by GOAWAY that it was not looked at, so the client asks elsewhere.
            return False
        self._last = number
        return True

    def _trailers(self, stream: Stream, flags: int, block: bytes) -> None:
        self._heads.fields(block)
        if stream.peer_ended or not flags & frames.END_STREAM:
            self._break(stream, Code.STREAM_CLOSED if stream.peer_ended else Code.PROTOCOL_ERROR)
            return
        stream.peer_ended = True
        stream.received(b"", ended=True)

    def _control(self, kind: int, flags: int, number: int, payload: bytes) -> None:
        """Every frame that carries no request."""
        if not self._settled and (kind != frames.SETTINGS or flags & frames.ACK):
            raise ConnectionFault(Code.PROTOCOL_ERROR, "the first frame must be SETTINGS")
        if kind == frames.WINDOW_UPDATE:
            self._window_update(number, frames.read_number(payload, "WINDOW_UPDATE") & frames.MAX_WINDOW)
        elif kind == frames.RST_STREAM:
            self._rst_stream(number, payload)
        elif kind in {frames.SETTINGS, frames.PING, frames.GOAWAY}:
            if number != 0:
                raise ConnectionFault(Code.PROTOCOL_ERROR, f"a frame of the connection on stream {number}")
            if kind == frames.SETTINGS:
                self._settings(flags, payload)
            elif kind == frames.PING:
                self._ping(flags, payload)
            else:
                self._goaway(payload)
        else:
            self._charge(1)
            frames.check_other(kind, number, payload)

    def _goaway(self, payload: bytes) -> None:
        """The client opens no more streams; it hangs up itself when it has what it waits for."""
        self._charge(1)
        if len(payload) < 8:
            raise ConnectionFault(Code.FRAME_SIZE_ERROR, f"GOAWAY of {len(payload)} bytes")

    def _settings(self, flags: int, payload: bytes) -> None:
        if flags & frames.ACK:
            if payload:
                raise ConnectionFault(Code.FRAME_SIZE_ERROR, "an acknowledgement of SETTINGS with a payload")
            return
        pairs = frames.read_settings(payload)
        if self._settled:
            self._charge(1 + len(pairs) / 8)
        self._settled = True
        for number, value in pairs:
            if number == frames.INITIAL_WINDOW_SIZE:
                self._set_first_window(value)
            elif number == frames.MAX_FRAME_SIZE:
                if not frames.MAX_FRAME <= value < 2**24:
                    raise ConnectionFault(Code.PROTOCOL_ERROR, f"SETTINGS_MAX_FRAME_SIZE {value}")
                self._frame_size = min(value, LARGEST_SENT)
            elif number == frames.ENABLE_PUSH and value > 1:
                raise ConnectionFault(Code.PROTOCOL_ERROR, f"SETTINGS_ENABLE_PUSH {value}")
        self.write(frames.frame(frames.SETTINGS, frames.ACK, 0))
        self.pump_all()

    def _set_first_window(self, value: int) -> None:
        if value > frames.MAX_WINDOW:
            raise ConnectionFault(Code.FLOW_CONTROL_ERROR, f"SETTINGS_INITIAL_WINDOW_SIZE {value}")
        for stream in self.streams.values():
            stream.window += value - self.first_window
            if stream.window > frames.MAX_WINDOW:
                raise ConnectionFault(Code.FLOW_CONTROL_ERROR, f"the window of stream {stream.id} passes 2^31-1")
        self.first_window = value

    def _ping(self, flags: int, payload: bytes) -> None:
        if len(payload) != 8:
            raise ConnectionFault(Code.FRAME_SIZE_ERROR, f"PING of {len(payload)} bytes")
        if not flags & frames.ACK:
            self._charge(1)
            self.write(frames.frame(frames.PING, frames.ACK, 0, payload))
        elif self._draining and payload == _DRAIN_PING:
            self.refuse()

    def _window_update(self, number: int, increment: int) -> None:
        if increment < _SMALL_UPDATE:
            self._charge(1)
        if number == 0:
            if increment == 0:
                raise ConnectionFault(Code.PROTOCOL_ERROR, "WINDOW_UPDATE by 0")
            self._window += increment
            if self._window > frames.MAX_WINDOW:
                raise ConnectionFault(Code.FLOW_CONTROL_ERROR, "the connection's window passes 2^31-1")
            if self._blocked:
                self.pump_all()
            return
        stream = self.streams.get(number)
        if stream is None:
            self._unknown(number, "WINDOW_UPDATE")
            return
        stream.window += increment
        if increment == 0 or stream.window > frames.MAX_WINDOW:
            self._break(stream, Code.FLOW_CONTROL_ERROR if increment else Code.PROTOCOL_ERROR)
        elif stream.queue:
            self.pump(stream)

    def _rst_stream(self, number: int, payload: bytes) -> None:
        frames.read_number(payload, "RST_STREAM")
        self._charge(1)
        stream = self.streams.get(number)
        if stream is None:
            self._unknown(number, "RST_STREAM")
            return
        self._remove(stream)
        stream.aborted()

    def _break(self, stream: Stream, code: Code) -> None:
        """Reset a stream by the peer's fault, which costs it as much as a reset of its own."""
        self._charge(1)
        self.reset(stream, code)
        stream.aborted()

    def _charge(self, cost: float) -> None:
        """Draw from the budget of idle work. Raises ConnectionFault when it is spent."""
        self.idle_work += cost
        if self.idle_work > _BUDGET:
            now = self._now()
            self.idle_work = max(0.0, self.idle_work - (now - self._idle_since) * _REFILL)
            self._idle_since = now
            if self.idle_work > _BUDGET:
                raise ConnectionFault(Code.ENHANCE_YOUR_CALM, "too many frames that ask for nothing")

    def rested(self) -> None:
        """No stream is open any more: hang up when none may follow."""
        if self._final and not self.closed:
            self.hang_up()
