"""One HTTPS request to one checked address; the standard library's client, for nothing here needs more.

The name is resolved once, the answer checked, and the connection made to that very address: to resolve again for the
connection would let a name server answer the check with one address and the connection with another.
"""

import http.client
import socket
import ssl
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from urllib.parse import SplitResult, quote

from mooring_runtime.errors import DownloadFailed
from mooring_runtime.fetcher.addresses import Resolve, permitted, resolve

CONNECT_TIMEOUT = 10.0
READ_TIMEOUT = 30.0
"""Seconds without a byte after which a connection is given up and, if attempts are left, made anew."""
_CHUNK = 1024 * 1024
_AS_IT_IS = "/%:=&?~+!$,;'@()*[]"
"""What is left alone in a path or query; everything else that ASCII or HTTP cannot carry is percent-encoded."""


class AttemptError(Exception):
    """This attempt failed in a way that another may not: no connection, a timeout, a body that ends too early.

    `pause` is how many seconds the server asks to be left alone, if it did.
    """

    def __init__(self, message: str, pause: float | None = None) -> None:
        super().__init__(message)
        self.pause = pause


@dataclass(frozen=True, slots=True)
class Origin:
    """Who is asked: credentials go to this host and port and to no other."""

    host: str
    port: int

    @classmethod
    def of(cls, uri: SplitResult) -> "Origin":
        """The origin of an https address."""
        return cls((uri.hostname or "").lower(), uri.port or 443)


class Response:
    """Status, headers and body of one answer; close it."""

    def __init__(self, connection: http.client.HTTPSConnection, response: http.client.HTTPResponse) -> None:
        self._connection = connection
        self._response = response
        self.status = response.status

    def header(self, name: str) -> str | None:
        """One header's value."""
        return self._response.headers.get(name)

    def length(self) -> int | None:
        """Bytes of the body, when the server told."""
        return self._response.length

    def body(self) -> Iterator[bytes]:
        """The body in pieces. Raises AttemptError when it ends before its length, or stalls."""
        left = self._response.length
        try:
            while piece := self._response.read1(_CHUNK):
                if left is not None:
                    left -= len(piece)
                yield piece
        except (OSError, http.client.HTTPException) as error:
            raise AttemptError(f"the connection broke: {_words(error)}") from error
        if left:
            raise AttemptError(f"the connection ended {left} bytes too early")

    def close(self) -> None:
        """End the connection."""
        self._connection.close()


class Transport:
    """Makes requests. `allow` and `resolver` are seams for tests; `read_timeout` is in seconds."""

    def __init__(
        self,
        allow: Callable[[str], bool] = lambda _address: False,
        resolver: Resolve = resolve,
        read_timeout: float = READ_TIMEOUT,
    ) -> None:
        self._allow = allow
        self._resolve = resolver
        self._read_timeout = read_timeout
        self._context = ssl.create_default_context()  # Honours SSL_CERT_FILE and SSL_CERT_DIR.

    def get(self, uri: SplitResult, headers: Mapping[str, str]) -> Response:
        """Send a GET and read the head of the answer.

        Raises AttemptError where another attempt may help, AddressRefused, and DownloadFailed for a certificate that
        is not trusted.
        """
        origin = Origin.of(uri)
        path = quote(uri.path or "/", safe=_AS_IT_IS)
        if uri.query:
            path += "?" + quote(uri.query, safe=_AS_IT_IS)
        connection = self._connect(origin)
        try:
            connection.request("GET", path, headers=dict(headers))
            return Response(connection, connection.getresponse())
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            raise AttemptError(f"no answer from {origin.host}: {_words(error)}") from error

    def _connect(self, origin: Origin) -> http.client.HTTPSConnection:
        """A connection to the first of the host's addresses that takes one."""
        try:
            addresses = permitted(origin.host, self._resolve(origin.host, origin.port), self._allow)
        except (OSError, UnicodeError) as error:
            raise AttemptError(f"cannot resolve {origin.host}: {_words(error)}") from error
        failure = AttemptError(f"{origin.host} has no address")
        for address in addresses:
            try:
                return self._connect_to(origin, address)
            except ssl.SSLCertVerificationError as error:
                raise DownloadFailed(
                    f"the certificate of {origin.host} is not trusted: {error.verify_message}; "
                    "name a file with its authority in SSL_CERT_FILE"
                ) from error
            except OSError as error:
                failure = AttemptError(f"cannot connect to {origin.host} ({address}): {_words(error)}")
        raise failure

    def _connect_to(self, origin: Origin, address: str) -> http.client.HTTPSConnection:
        plain = socket.create_connection((address, origin.port), CONNECT_TIMEOUT)
        try:
            secure = self._context.wrap_socket(plain, server_hostname=origin.host)
        except BaseException:
            plain.close()
            raise
        secure.settimeout(self._read_timeout)
        connection = http.client.HTTPSConnection(origin.host, origin.port)
        connection.sock = secure
        return connection


def _words(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return "timed out"
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
