"""Replicas for the router's tests: what they are asked is written down, and how they answer stands in the path."""

import json
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import grpc

CLOSES, EVENTS, WAITS, REFUSES = "/closes", "/events", "/waits", "/refuses"
ECHO, ECHO_STREAM = "/test.Echo/Unary", "/test.Echo/Stream"
_WAIT_SECONDS = 20
_PREFACE, _FRAME_HEAD, _DATA = 24, 9, 0
_SETTINGS = b"\x00\x00\x00\x04\x00\x00\x00\x00\x00"


@dataclass
class Seen:
    """A request as it came."""

    path: str
    headers: dict[str, str]
    body: bytes = b""


@dataclass
class Replica:
    """One that answers, by HTTP and by gRPC."""

    address: str
    seen: list[Seen] = field(default_factory=list)
    go_on: threading.Event = field(default_factory=threading.Event)
    """What waits in mid-answer waits for this."""
    waits: threading.Event = field(default_factory=threading.Event)
    """Something does."""

    def wait(self) -> None:
        self.waits.set()
        self.go_on.wait(_WAIT_SECONDS)

    def forget(self) -> None:
        self.seen.clear()
        self.go_on.clear()
        self.waits.clear()


@contextmanager
def replica(address: str, http_port: int, grpc_port: int) -> Iterator[Replica]:
    """Serves until the block ends."""
    made = Replica(address)
    http = _Server((address, http_port), _handler(made))
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    served = grpc.server(ThreadPoolExecutor(8))
    served.add_generic_rpc_handlers((_echo(made),))
    served.add_insecure_port(f"{address}:{grpc_port}")
    served.start()
    try:
        yield made
    finally:
        made.go_on.set()
        http.shutdown()
        thread.join()
        http.server_close()
        served.stop(None).wait(_WAIT_SECONDS)


@contextmanager
def silent(address: str, *ports: int) -> Iterator[None]:
    """A replica whose node is gone: what is sent to it vanishes, for it lets nobody into its full queue."""
    held: list[socket.socket] = []
    for port in ports:
        held.append(socket.create_server((address, port), backlog=0))
        for _ in range(8):
            waiting = socket.socket()
            waiting.setblocking(False)
            waiting.connect_ex((address, port))
            held.append(waiting)
    try:
        yield
    finally:
        for each in held:
            each.close()


@contextmanager
def frozen(address: str, *ports: int) -> Iterator[None]:
    """A replica whose process hangs: its kernel takes connections and all that is sent on them, and nobody reads it."""
    with ExitStack() as stack:
        for port in ports:
            stack.enter_context(socket.create_server((address, port), backlog=512))
        yield


@contextmanager
def pulse(address: str, port: int, *, alive: bool) -> Iterator[threading.Event]:
    """Where a replica is asked whether it answers at all; it does while the event is set."""
    beats = threading.Event()
    if alive:
        beats.set()
    served = _Server((address, port), _probed(beats))
    thread = threading.Thread(target=served.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield beats
    finally:
        beats.set()
        served.shutdown()
        thread.join()
        served.server_close()


@contextmanager
def breaking(address: str, http_port: int, grpc_port: int) -> Iterator[list[str]]:
    """A replica that dies of each request, after it has read it; the list gets a word for each that it read."""
    read: list[str] = []
    listening = {"http": socket.create_server((address, http_port)), "grpc": socket.create_server((address, grpc_port))}
    threads = [threading.Thread(target=_break, args=(word, each, read)) for word, each in listening.items()]
    for thread in threads:
        thread.start()
    try:
        yield read
    finally:
        for each in listening.values():
            each.shutdown(socket.SHUT_RDWR)
        for thread in threads:
            thread.join()
        for each in listening.values():
            each.close()


def _break(word: str, listening: socket.socket, read: list[str]) -> None:
    while True:
        try:
            connection, _ = listening.accept()
        except OSError:
            return
        with connection:
            connection.settimeout(_WAIT_SECONDS)
            if word == "grpc":
                connection.sendall(_SETTINGS)
            data = b""
            while not _whole(word, data):
                more = connection.recv(65536)
                if not more:
                    break
                data += more
            else:
                read.append(word)


def _whole(word: str, data: bytes) -> bool:
    """Whether the request has come: the end of its head, or, of HTTP/2, a frame of its data."""
    if word == "http":
        return b"\r\n\r\n" in data
    at = _PREFACE
    while len(data) >= at + _FRAME_HEAD:
        if data[at + 3] == _DATA:
            return True
        at += _FRAME_HEAD + int.from_bytes(data[at : at + 3], "big")
    return False


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Who breaks off is no error here."""


def _handler(made: Replica) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = -1  # a head and its body in one packet
        disable_nagle_algorithm = True

        def do_GET(self) -> None:
            self._answer(b"")

        def do_POST(self) -> None:
            if self.headers.get("transfer-encoding") == "chunked":
                self._answer(self._chunks())
            else:
                self._answer(self.rfile.read(int(self.headers.get("content-length", 0))))

        def log_message(self, format: str, *args: Any) -> None:
            """Quiet."""

        def _answer(self, body: bytes) -> None:
            made.seen.append(Seen(self.path, {k.lower(): v for k, v in self.headers.items()}, body))
            if self.path == CLOSES:
                self.connection.shutdown(socket.SHUT_RDWR)
                self.close_connection = True
            elif self.path == EVENTS:
                self._events()
            else:
                if self.path == WAITS:
                    made.wait()
                said = json.dumps({"replica": made.address, "bytes": len(body)}).encode()
                self.send_response(400 if self.path == REFUSES else 200)
                self.send_header("content-length", str(len(said)))
                self.send_header("x-mooring-session", self.headers.get("x-mooring-session", ""))
                self.end_headers()
                self.wfile.write(said)

        def _events(self) -> None:
            """One event; the second only when the client has had the first."""
            self.send_response(200)
            self.send_header("content-type", "text/event-stream")
            self.send_header("transfer-encoding", "chunked")
            self.end_headers()
            for event in (b"data: 1\n\n", b"data: 2\n\n"):
                self.wfile.write(b"%x\r\n%b\r\n" % (len(event), event))
                self.wfile.flush()
                made.wait()
            self.wfile.write(b"0\r\n\r\n")

        def _chunks(self) -> bytes:
            found = b""
            while size := int(self.rfile.readline(), 16):
                found += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
            return found

    return Handler


def _probed(beats: threading.Event) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            beats.wait(_WAIT_SECONDS)
            # Not well, and there: only silence counts.
            self.send_response(503)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:
            """Quiet."""

    return Handler


def _echo(made: Replica) -> Any:
    """Gives back what it gets; says in the initial metadata which replica it is."""

    def seen(method: str, context: Any) -> None:
        made.seen.append(Seen(method, dict(context.invocation_metadata())))
        context.send_initial_metadata((("replica", made.address),))

    def unary(request: bytes, context: Any) -> bytes:
        seen(ECHO, context)
        return request

    def stream(requests: Iterator[bytes], context: Any) -> Iterator[bytes]:
        seen(ECHO_STREAM, context)
        yield from requests

    handlers = {
        "Unary": grpc.unary_unary_rpc_method_handler(unary),
        "Stream": grpc.stream_stream_rpc_method_handler(stream),
    }
    return grpc.method_handlers_generic_handler("test.Echo", handlers)
