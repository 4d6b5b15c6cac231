"""A server that answers as Prometheus does, or in every way that it should not. Only for what the real one never does:
what it does is tested with the real one.
"""

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

NOW = 1_800_000_000.0
SCALAR = {"status": "success", "data": {"resultType": "scalar", "result": [NOW, str(NOW)]}}
NOTHING = {"status": "success", "data": {"resultType": "vector", "result": []}}


@dataclass
class Asked:
    """One request."""

    path: str
    params: dict[str, str]
    headers: dict[str, str]


Reply = tuple[int, bytes]
Answers = Callable[[Asked], Reply]


def told(body: Any, status: int = 200) -> Reply:
    return status, json.dumps(body).encode()


def nothing(asked: Asked) -> Reply:
    """A Prometheus that has no series."""
    return told(SCALAR if asked.params["query"] == "time()" else NOTHING)


@dataclass
class StandIn:
    """The server; `answers` may be changed at any time."""

    url: str
    answers: Answers = nothing
    pause: float = 0.0
    """Seconds between two bytes of an answer."""
    asked: list[Asked] = field(default_factory=list)
    open: int = 0
    """Requests that are being answered."""

    @property
    def looks(self) -> int:
        """How often all queries were asked."""
        return sum(each.params["query"] == "time()" for each in self.asked)


@contextmanager
def stand_in(answers: Answers = nothing) -> Iterator[StandIn]:
    """A running stand-in on loopback."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler)
    made = StandIn(f"http://127.0.0.1:{server.server_address[1]}", answers)
    server.RequestHandlerClass = _handler(made)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield made
    finally:
        made.pause = 0.0
        server.shutdown()
        server.server_close()
        thread.join()


def _handler(made: StandIn) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            url = urlsplit(self.path)
            params = {name: values[0] for name, values in parse_qs(url.query).items()}
            asked = Asked(url.path, params, dict(self.headers.items()))
            made.asked.append(asked)
            made.open += 1
            try:
                self._answer(*made.answers(asked))
            except OSError:
                self.close_connection = True  # whoever asked has hung up
            finally:
                made.open -= 1

        def _answer(self, status: int, body: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if made.pause:
                for byte in body:
                    time.sleep(made.pause)
                    self.wfile.write(bytes([byte]))
                    if not made.pause:
                        return
            else:
                self.wfile.write(body)

        def log_message(self, format: str, *arguments: object) -> None:
            """Say nothing."""

    return Handler
