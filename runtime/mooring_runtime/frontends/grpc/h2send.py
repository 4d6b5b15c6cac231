"""What a server sends on an HTTP/2 connection: frames of its streams, as far as windows and socket allow. No I/O."""

from collections import deque
from collections.abc import Callable
from typing import NamedTuple

from mooring_runtime.frontends.grpc import frames
from mooring_runtime.frontends.grpc.frames import Code

Part = bytes | memoryview

_pack = frames.HEADER.pack

FIRST_WINDOW = 65535
"""Bytes that each side may send before anything else is said."""
_BURST = 256 * 1024
"""Bytes written for one stream before others have their turn."""
_EARNED = 3.0
"""Idle work that an answer pays for: some clients (Go's) send a small update of each window and a PING for it."""
_LARGE = 1024
"""Bytes from which a piece of a message pays as much; smaller ones are what the peer's own updates have made small."""
LARGEST_SENT = 256 * 1024
"""Bytes of our DATA frames, when the peer takes as much."""


class Limits(NamedTuple):
    """What one peer may take; `window` and `stream_window` are bytes that it may send ahead."""

    streams: int = 1024
    header_bytes: int = 32 * 1024
    gathered: int = 64 * 2**20
    """Bytes of unfinished messages of all streams, above which only the oldest of them goes on."""
    window: int = 16 * 2**20
    stream_window: int = 4 * 2**20
    unpacked: int = 64 * 2**20
    """Bytes of a message that came compressed, when it is unpacked."""


class Stream:
    """One request and its answer; a subclass takes what arrives.

    What begins the same for every stream stands in the class: a call of a small model lives for microseconds, and
    setting ten fields would be a tenth of them.
    """

    held = False
    """The peer's credit is not renewed for now."""
    peer_ended = False
    gathered = 0
    """Bytes of a message that is not whole yet."""
    queue: deque[tuple[int, int, Part]] | None = None
    """Frames that wait for the window: kind, flags, payload."""
    waiting = 0
    """Bytes of them."""

    def __init__(self, connection: "Sender", number: int) -> None:
        self.connection = connection
        self.id = number
        self.credit = connection.limits.stream_window
        """Bytes that the peer may still send."""
        self.window = connection.first_window
        """Bytes that we may."""

    def received(self, data: bytes, *, ended: bool) -> None:
        """The peer has sent `data` and, when `ended`, nothing will follow."""
        raise NotImplementedError

    def aborted(self) -> None:
        """The peer has given the stream up, or the connection is gone: nothing can be sent on it any more."""
        raise NotImplementedError

    def taken(self) -> None:
        """The peer has taken some of what waited, of a stream that is `held`."""


class Sender:
    """The half of a connection that writes; `streams` are those that are open."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.peer = ""
        """The client's address."""
        self.write: Callable[[bytes], None] = _nowhere
        self.streams: dict[int, Stream] = {}
        self.first_window = FIRST_WINDOW
        """Of each new stream, as the peer has told."""
        self.congested = False
        """The socket takes no more for now; what is queued for streams waits."""
        self.closed = False
        """Nothing is read any more, and nothing may be written."""
        self.idle_work = 0.0
        """What the peer has spent of its budget; each answer gives a little back."""
        self._window = FIRST_WINDOW
        self._frame_size = frames.MAX_FRAME
        self._blocked: dict[int, Stream] = {}
        self._gathered = 0
        self._starved: dict[int, Stream] = {}
        """Streams whose credit was not renewed, since all together have sent too much that cannot be used yet."""

    def reply(self, stream: Stream, head: bytes, body: bytes, tail: bytes) -> None:
        """A whole answer: headers, one piece of body, trailers. One write where the windows allow it."""
        length, number = len(body), stream.id
        if stream.queue or length > self._frame_size or length > self._window or length > stream.window or self.closed:
            self.send(stream, frames.HEADERS, head)
            self.send(stream, frames.DATA, body)
            self.send(stream, frames.HEADERS, tail, end=True)
            return
        self._window -= length
        parts = (
            _pack(0, len(head), 1, 4, number),
            head,
            _pack(length >> 16, length & 0xFFFF, 0, 0, number),
            body,
            _pack(0, len(tail), 1, 5, number),
            tail,
        )
        self.write(b"".join(parts))
        self._ended(stream)

    def send(self, stream: Stream, kind: int, payload: Part, *, end: bool = False) -> None:
        """Send HEADERS (one whole block of at most 16384 bytes) or DATA; what the windows do not allow waits."""
        if self.streams.get(stream.id) is not stream:
            return
        flags = (frames.END_HEADERS if kind == frames.HEADERS else 0) | (frames.END_STREAM if end else 0)
        if stream.queue is None:
            stream.queue = deque()
        stream.queue.append((kind, flags, payload))
        stream.waiting += len(payload)
        if len(stream.queue) == 1:
            self.pump(stream)

    def pump(self, stream: Stream) -> None:
        """Write what the windows and the socket allow of what waits for a stream."""
        queue, number = stream.queue, stream.id
        parts: list[Part] = []
        written = flags = 0
        while queue:
            kind, flags, payload = queue[0]
            length = len(payload)
            size = length
            if kind == frames.DATA:
                size = min(length, self._frame_size, self._window, stream.window)
                if (size <= 0 and length) or self.congested:
                    break
                self._window -= size
                stream.window -= size
                written += size
                if self.idle_work > 0 and (size == length or size >= _LARGE):
                    self.idle_work = max(0.0, self.idle_work - _EARNED)
            stream.waiting -= size
            if size == length:
                queue.popleft()
            else:
                view = memoryview(payload)
                queue[0] = (kind, flags, view[size:])
                payload, flags = view[:size], 0
            parts.append(_pack(size >> 16, size & 0xFFFF, kind, flags, number))
            parts.append(payload)
            if written >= _BURST:
                self.write(b"".join(parts))
                parts.clear()
                written = 0
        if parts:
            self.write(b"".join(parts))
        self._blocked.pop(number, None)
        if queue:
            self._blocked[number] = stream  # At the end: others have their turn first.
        elif flags & frames.END_STREAM:
            self._ended(stream)
        if stream.held:
            stream.taken()

    def pump_all(self) -> None:
        """Go on with every stream that waited."""
        for stream in list(self._blocked.values()):
            if self.congested or self.closed:
                return
            self.pump(stream)

    def _ended(self, stream: Stream) -> None:
        """Our half of a stream is sent."""
        if not stream.peer_ended:  # The answer does not need the rest of the request.
            self.write(frames.rst_stream(stream.id, Code.NO_ERROR))
        elif self.idle_work > 0:
            self.idle_work = max(0.0, self.idle_work - _EARNED)
        self._remove(stream)

    def renew(self, stream: Stream) -> None:
        """Let the peer send the stream's whole window again."""
        grant = self.limits.stream_window - stream.credit
        if grant > 0 and not self.closed and not stream.peer_ended and stream.id in self.streams:
            stream.credit += grant
            self.write(frames.window_update(stream.id, grant))

    def gather(self, stream: Stream, size: int) -> None:
        """A stream holds `size` bytes of a message that is not whole."""
        self._gathered += size - stream.gathered
        stream.gathered = size
        if self._starved:
            self._feed()

    def nourish(self, stream: Stream) -> None:
        """Renew a stream's credit unless it must wait for older ones: many large messages at once would fill memory."""
        self._starved[stream.id] = stream
        self._feed()

    def _feed(self) -> None:
        oldest = 0
        if self._gathered > self.limits.gathered:
            oldest = min((number for number, each in self.streams.items() if each.gathered), default=0)
        for number, stream in list(self._starved.items()):
            if oldest and number != oldest:
                continue
            del self._starved[number]
            if not stream.held:
                self.renew(stream)

    def reset(self, stream: Stream, code: Code) -> None:
        """End a stream at once, whatever waits for it; its `aborted` is not called."""
        if self.streams.get(stream.id) is stream:
            if not self.closed:
                self.write(frames.rst_stream(stream.id, code))
            self._remove(stream)

    def _remove(self, stream: Stream) -> None:
        self.streams.pop(stream.id, None)
        if stream.queue:
            stream.queue.clear()
        if self._blocked:
            self._blocked.pop(stream.id, None)
        if self._starved:
            self._starved.pop(stream.id, None)
        if stream.gathered:
            self.gather(stream, 0)
        if not self.streams:
            self.rested()

    def rested(self) -> None:
        """No stream is open any more."""


def _nowhere(_data: bytes) -> None:
    raise RuntimeError("written to before there is a socket")
