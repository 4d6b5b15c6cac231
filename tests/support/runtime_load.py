"""A client that asks a real server again and again."""

import threading

from tests.support.runtime_process import connect, post, read_reply

INFER = "/v2/models/m/infer"


class Load(threading.Thread):
    """Asks on one connection for as long as the server keeps it.

    Like a load balancer's client it goes away when readiness does, and what it has sent by then must be answered.
    """

    def __init__(self, port: int, body: bytes) -> None:
        super().__init__(daemon=True)
        self._port = port
        self._body = post(INFER, body)
        self._leave = threading.Event()
        self.statuses: list[int] = []
        self.failures: list[str] = []
        self.connections = 0

    def run(self) -> None:
        """Ask until it is told to leave."""
        connection = None
        while not self._leave.is_set():
            try:
                if connection is None:
                    connection = connect(self._port)
                    self.connections += 1
                connection.sendall(self._body)
                status, headers, _ = read_reply(connection)
            except (OSError, EOFError) as error:
                self.failures.append(repr(error))
                if connection is not None:
                    connection.close()
                connection = None
                continue
            self.statuses.append(status)
            if headers.get("connection") == "close":
                connection.close()
                connection = None
        if connection is not None:
            connection.close()

    def leave(self) -> None:
        """Ask no more."""
        self._leave.set()
