"""The load generator against a small server that counts."""

import socket
import threading
from collections import Counter
from collections.abc import Iterator

import pytest

from tests.bench.sessions import client
from tests.bench.sessions.client import Spec

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nX: y\r\n\r\nhello"


class Counting:
    """Answers each request; `seen` are the sessions, by the connection that named them."""

    def __init__(self, answer: bytes) -> None:
        self.answer = answer
        self.seen: list[tuple[int, bytes]] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def _accept(self) -> None:
        while True:
            try:
                line, _ = self._listener.accept()
            except OSError:
                return
            self._threads.append(threading.Thread(target=self._serve, args=(line, len(self._threads))))
            self._threads[-1].start()

    def _serve(self, line: socket.socket, number: int) -> None:
        line.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # Else the second part waits for an acknowledgement.
        with line:
            while data := line.recv(65536):
                head = data.partition(b"\r\n\r\n")[0]
                told = [
                    each.partition(b": ")[2] for each in head.split(b"\r\n") if each.startswith(b"X-Mooring-Session:")
                ]
                self.seen.append((number, told[0] if told else data[-60:]))
                line.sendall(self.answer[:30])
                line.sendall(self.answer[30:])

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for thread in self._threads:
            thread.join(5)


@pytest.fixture
def server() -> Iterator[Counting]:
    running = Counting(ANSWER)
    yield running
    running.close()


def test_every_session_is_made_once(server: Counting) -> None:
    client.run(Spec(server.port, "/", 10, 3, 0, warm=0, create=True))
    assert sorted(int(session) for _, session in server.seen) == list(range(1, 11))


def test_no_two_connections_use_the_same_session(server: Counting) -> None:
    told = client.run(Spec(server.port, "/", 9, 3, 0.1, warm=0.02))
    lines = Counter(server.seen)
    assert len({session for _, session in lines}) == len(lines) == 9
    assert told["rate"] > 0
    assert 0 < told["p50"] <= told["p99"]


def test_a_session_in_the_json(server: Counting) -> None:
    client.run(Spec(server.port, "/", 1, 1, 0.02, warm=0, parameter=True))
    assert server.seen[0][1].endswith(b'"parameters":{"sequence_id":1}}')


def test_an_error_is_no_figure(server: Counting) -> None:
    server.answer = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 2\r\n\r\nno"
    with pytest.raises(ValueError, match="503"):
        client.run(Spec(server.port, "/", 1, 1, 0.1))
