"""A DNS server on loopback: names that tests give addresses to, as CoreDNS does for the replicas of a service."""

import socket
import struct
import threading
from collections import Counter
from collections.abc import Mapping
from types import TracebackType
from typing import Self

_ADDRESS = 1
_NO_SUCH_NAME = 3


class Names:
    """Answers over UDP. `zone` may be changed at any time; a name that is not in it does not exist."""

    def __init__(self, zone: Mapping[str, list[str]]) -> None:
        self.zone = dict(zone)
        self.asked: Counter[str] = Counter()
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0))
        self.address: tuple[str, int] = self._socket.getsockname()
        self._thread = threading.Thread(target=self._serve)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        # A datagram of nothing ends the thread; closing the socket would not wake it.
        self._socket.sendto(b"", self.address)
        self._thread.join()
        self._socket.close()

    def _serve(self) -> None:
        while query := self._socket.recvfrom(4096):
            data, sender = query
            if not data:
                return
            self._socket.sendto(self._answer(data), sender)

    def _answer(self, query: bytes) -> bytes:
        """An answer has the query's id and question; each address then refers to the question's name, at offset 12."""
        labels, at = [], 12
        while length := query[at]:
            labels.append(query[at + 1 : at + 1 + length].decode())
            at += 1 + length
        name, (kind,) = ".".join(labels), struct.unpack(">H", query[at + 1 : at + 3])
        self.asked[name] += 1
        addresses = self.zone.get(name)
        found = addresses if addresses and kind == _ADDRESS else []
        head = struct.pack(">HHHHH", 0x8580 | (_NO_SUCH_NAME if addresses is None else 0), 1, len(found), 0, 0)
        records = [struct.pack(">HHHIH", 0xC00C, _ADDRESS, 1, 5, 4) + socket.inet_aton(address) for address in found]
        return query[:2] + head + query[12 : at + 5] + b"".join(records)
