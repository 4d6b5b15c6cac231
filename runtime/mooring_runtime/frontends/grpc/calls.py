"""gRPC over one HTTP/2 stream: what its headers ask for, messages in and out, the status at the end.

A message is a flag (1: compressed), its length in four bytes, and itself; an answer is headers, messages and trailers
with the status, or trailers alone for a call that failed before its first message. Answers are never compressed:
tensors do not shrink enough to pay for it.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, NamedTuple, Protocol

from mooring_runtime.errors import (
    Applied,
    DeadlineExceeded,
    InferenceFailed,
    InvalidRequest,
    RequestError,
    RequestTimeout,
)
from mooring_runtime.errors.codes import GrpcCode
from mooring_runtime.frontends.grpc import frames, heads
from mooring_runtime.frontends.grpc.envelopes import DONE, HEAD, WINDOW_BITS, Reader, trailers, unpacked
from mooring_runtime.frontends.grpc.field_table import Fields
from mooring_runtime.frontends.grpc.frames import literal
from mooring_runtime.frontends.grpc.h2send import Part, Sender, Stream
from mooring_runtime.frontends.grpc.heads import Head
from mooring_runtime.messages import SessionCall
from mooring_runtime.scheduling import Ticket

if TYPE_CHECKING:
    from mooring_runtime.frontends.grpc.observed import CallWatch

log = logging.getLogger(__name__)

_UNPACK_APART = 2 * 1024
"""Bytes of a compressed message from which a thread unpacks it, so that other calls do not wait for it: these may
become a thousand times as many."""
_TURN = 64
"""Messages of one conversation that are handed on before other connections have their turn."""


class Conversation(Protocol):
    """The server's end of a call of many messages. Messages come whole, with the five bytes before them."""

    def message(self, framed: bytes) -> None:
        """The next message."""

    def ended(self) -> None:
        """The client sends no more."""

    def taken(self) -> None:
        """The client has taken some of the answers that wait, while the call was held."""

    def stopping(self) -> None:
        """The server stops: end the call as soon as nothing is under way in it."""

    def aborted(self) -> None:
        """The call is over; nothing can be answered."""


class Method(NamedTuple):
    """What one path does: `unary` answers one message with `Call.reply` or `Call.fail`, now or later, and may return
    a ticket that takes it back; or `converse` begins a conversation."""

    path: str
    unary: "Callable[[Call, bytes], Ticket | None] | None" = None
    converse: "Callable[[Call], Conversation] | None" = None


class App(NamedTuple):
    """What all calls of a server have in common."""

    methods: Mapping[bytes, Method]
    max_message: int
    """Bytes of one message, also after it is unpacked."""
    log_call: "Callable[[Call, GrpcCode], None] | None" = None
    """Called at the end of each call."""

    def read_head(self, fields: Fields) -> Head:
        """What a request asks for. Raises StreamFault for what is no HTTP/2."""
        return heads.read(fields, self.methods)

    def accept(self, connection: Sender, number: int, head: Head) -> "Call":
        """The stream of a new request."""
        return Call(self, connection, number, head)


class Call(Stream):
    """One call. `ticket` takes back what waits for its answer."""

    done = False
    """Answered, failed or aborted."""
    ticket: Ticket | None = None
    session: SessionCall | None = None
    """What its one message says of a session."""
    begun = False
    """The data plane has it as a step of a session."""
    watch: "CallWatch | None" = None
    """Set where calls are watched."""
    _reader: Reader | None = None
    _talk: Conversation | None = None
    _timer: asyncio.TimerHandle | None = None
    _started = False
    _resting = False
    """The conversation takes no more messages for now."""
    _yielding = False
    """Others have their turn; the messages behind go on in the event loop's next one."""
    _unpacking = False
    """A thread unpacks a message, and those behind it wait, so that they stay in order."""

    def __init__(self, app: App, connection: Sender, number: int, head: Head) -> None:
        super().__init__(connection, number)
        self.app = app
        self.head = head
        if head.timeout is not None and head.refusal is None:
            self._timer = asyncio.get_running_loop().call_later(head.timeout, self._too_late)

    # --- in

    @property
    def arriving(self) -> bool:
        """Whether the client owes the rest of a message; a conversation may rest between two."""
        if self.peer_ended or self.done or self.held:
            return False
        return self._talk is None or (self._reader is not None and self._reader.size > 0)

    @property
    def total(self) -> int:
        """Bytes of the request that have come so far."""
        return 0 if self._reader is None else self._reader.total

    def too_slow(self, limit: float) -> None:
        """The rest of a message does not come."""
        self.fail(RequestTimeout(f"the rest of a message did not arrive within {limit:g} s"))

    def stop(self) -> None:
        """The server stops: end a conversation that only waits for the client."""
        if self._talk is not None:
            self._talk.stopping()

    def received(self, data: bytes, *, ended: bool) -> None:
        """Bytes of the request."""
        if self.done:
            return
        if (  # All of a call in one frame: nothing is kept and nothing is copied.
            ended
            and self.head.quick
            and self._reader is None
            and len(data) >= 5
            and data[0] == 0
            and int.from_bytes(data[1:5], "big") + 5 == len(data) <= self.app.max_message
        ):
            self._answer(data)
            return
        try:
            self._gather(data, ended=ended)
        except RequestError as error:
            self.fail(error)
        except Exception as error:
            self.fault(error)

    def _gather(self, data: bytes, *, ended: bool) -> None:
        method = self.head.method
        if self.head.refusal is not None or method is None:
            self._refuse()
            return
        if self._reader is None:
            self._reader = Reader(self.app.max_message)
            if method.converse is not None:
                self._talk = method.converse(self)
        self._reader.feed(data)
        if self._talk is not None:
            self._hand_on(self._reader)
        elif ended:
            self._hand_over(self._reader)
        else:
            self._reader.check()
        if self._reader is not None:
            self.connection.gather(self, 0 if self.peer_ended else self._reader.size)

    def _hand_over(self, reader: Reader) -> None:
        """The request of a unary call has ended: its one message is its method's."""
        framed = reader.next()
        if framed is None or reader.size:
            found = "more" if framed is not None else "a part of one" if reader.size else "none"
            raise InvalidRequest(f"{self.name} takes one message, {found} was sent")
        self._take(framed)

    def _hand_on(self, reader: Reader) -> None:
        """Every message that is whole is the conversation's, as long as that takes them, and so many at once."""
        taken = 0
        while not (self.held or self.done):
            if taken == _TURN and reader.check():
                self._yielding = self.held = True
                asyncio.get_running_loop().call_soon(self._next_turn)
                return
            framed = reader.next()
            if framed is not None:
                taken += 1
                self._take(framed)
                continue
            if self.peer_ended:
                if reader.size:
                    raise InvalidRequest("the request ends within a message")
                assert self._talk is not None
                self._talk.ended()
            return

    def _next_turn(self) -> None:
        self._yielding = False
        self._try_to_go_on()

    def _take(self, framed: bytes) -> None:
        """A whole message, as it came."""
        if framed[0] == 0:
            self._deliver(framed)
            return
        bits = WINDOW_BITS.get(self.head.encoding)
        if bits is None:
            raise InvalidRequest("a message is marked as compressed, but grpc-encoding names no compression")
        limit = min(self.app.max_message, self.connection.limits.unpacked)
        if len(framed) < _UNPACK_APART:
            self._deliver(unpacked(framed, bits, limit))
            return
        self._unpacking = self.held = True
        work = asyncio.get_running_loop().run_in_executor(None, unpacked, framed, bits, limit)
        work.add_done_callback(self._unpacked)

    def _unpacked(self, work: "asyncio.Future[bytes]") -> None:
        if self.done:
            work.exception()
            return
        self._unpacking = False
        try:
            self._deliver(work.result())
            if self._talk is not None:
                self._go_on()
        except RequestError as error:
            self.fail(error)
        except Exception as error:
            self.fault(error)

    def _deliver(self, framed: bytes) -> None:
        """A whole message that is not compressed."""
        if self._talk is not None:
            self._talk.message(framed)
        else:
            self._answer(framed)

    def hold(self) -> None:
        """Take no more messages; the client is stopped by its window."""
        self._resting = self.held = True

    def taken(self) -> None:
        """See `Stream`."""
        if self._resting and self._talk is not None:
            self._talk.taken()

    def resume(self) -> None:
        """Go on taking messages."""
        if self._resting:
            self._resting = False
            self._try_to_go_on()

    def _try_to_go_on(self) -> None:
        if self.done:
            return
        try:
            self._go_on()
        except RequestError as error:
            self.fail(error)
        except Exception as error:
            self.fault(error)

    def _go_on(self) -> None:
        """A reason to hold messages back is gone; go on unless there is another."""
        reader = self._reader
        self.held = self._resting or self._unpacking or self._yielding
        if reader is not None and not self.held:
            self.connection.renew(self)
            self._hand_on(reader)
            if not self.done:
                self.connection.gather(self, 0 if self.peer_ended else reader.size)

    def _answer(self, framed: bytes) -> None:
        """Call the method of one message."""
        method = self.head.method
        assert method is not None
        assert method.unary is not None
        try:
            ticket = method.unary(self, framed)
        except RequestError as error:
            self.fail(error)
            return
        except Exception as error:
            self.fault(error)
            return
        if not self.done:
            self.ticket = ticket

    def _too_late(self) -> None:
        self._timer = None
        self.fail(DeadlineExceeded(f"{self.name} took longer than the {self.head.timeout:g} s of its deadline"))

    @property
    def name(self) -> str:
        """The method, as a person would say it."""
        return self.head.path.decode("latin-1").rpartition("/")[2]

    # --- out

    def reply(self, body: bytes, head: bytes = HEAD) -> None:
        """The one message of the answer, with the five bytes before it, and the end."""
        if self.done:
            return
        self.done = True
        self.connection.reply(self, head, body, DONE)
        if self._timer is not None or self.app.log_call is not None:
            if self.watch is not None:
                self.watch.sent = len(body)
            self._ended(GrpcCode.OK)

    def send(self, body: Part) -> None:
        """One of many messages, with the five bytes before it."""
        if self.done:
            return
        if not self._started:
            self._started = True
            self.connection.send(self, frames.HEADERS, HEAD)
        if self.watch is not None:
            self.watch.sent += len(body)
        self.connection.send(self, frames.DATA, body)

    def finish(self) -> None:
        """The end of a call whose messages are all sent."""
        if self.done:
            return
        self.done = True
        head = b"" if self._started else HEAD
        self.connection.send(self, frames.HEADERS, head + DONE, end=True)
        self._ended(GrpcCode.OK)

    def fail(self, error: RequestError) -> None:
        """End the call with an error's code and words."""
        if self.done:
            return
        self.done = True
        block = trailers(error, self.session or self.head.session, begun=self.begun)
        if not self._started:
            block = HEAD + block
        self.connection.send(self, frames.HEADERS, block, end=True)
        self._over()
        self._ended(error.grpc_code)

    def fault(self, error: Exception, applied: Applied | None = None) -> None:
        """End the call because of a fault of ours; `applied`: what is known of the step that it was."""
        log.error("cannot answer %s", self.name, exc_info=error)
        failure = InferenceFailed(f"a fault of the server: {type(error).__name__}: {error}")
        failure.applied = applied
        self.fail(failure)

    def _refuse(self) -> None:
        refusal = self.head.refusal
        if isinstance(refusal, RequestError):
            self.fail(refusal)
            return
        self.done = True
        text = b"%d" % refusal if refusal is not None else b"404"
        self.connection.send(self, frames.HEADERS, literal(b":status", text), end=True)

    def aborted(self) -> None:
        """The client has given up, or is gone."""
        if not self.done:
            self.done = True
            self._over()
            self._ended(GrpcCode.CANCELLED)

    def _over(self) -> None:
        """Take back what still waits for the answer."""
        self._reader = None
        if self.ticket is not None:
            self.ticket.cancel()
        if self._talk is not None:
            self._talk.aborted()

    def _ended(self, code: GrpcCode) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self.app.log_call is not None:
            self.app.log_call(self, code)
