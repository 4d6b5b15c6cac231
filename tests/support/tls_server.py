"""A real HTTPS server for the fetcher's tests: it serves one file, and misbehaves as each path's script says."""

import re
import ssl
import subprocess
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

CONTENT = bytes(range(256)) * 400
ETAG = '"first"'

Act = Callable[["Handler"], None]


def certificate(directory: Path) -> tuple[Path, Path]:
    """A self-signed certificate for 127.0.0.1, localhost, a.test and b.test, and its key."""
    cert, key = directory / "cert.pem", directory / "key.pem"
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"),
            *("-days", "2", "-subj", "/CN=test"),
            *("-addext", "subjectAltName=DNS:localhost,DNS:a.test,DNS:b.test,IP:127.0.0.1"),
            *("-keyout", str(key), "-out", str(cert)),
        ],
        check=True,
        capture_output=True,
    )
    return cert, key


@dataclass
class Seen:
    """A request that arrived."""

    path: str
    host: str
    authorization: str | None
    range: str | None
    if_range: str | None


class Handler(BaseHTTPRequestHandler):
    """Looks up what to do next for its path; without a script it serves the file as a good server does."""

    protocol_version = "HTTP/1.1"
    server: "ModelServer"

    def do_GET(self) -> None:
        """Act out the next line of the path's script."""
        headers = self.headers
        self.server.seen.append(
            Seen(self.path, headers["Host"], headers["Authorization"], headers["Range"], headers["If-Range"])
        )
        script = self.server.scripts.get(self.path.partition("?")[0], [])
        act = script.pop(0) if script else serve()
        act(self)
        self.close_connection = True

    def log_message(self, format: str, *args: object) -> None:
        """Keep quiet."""

    def head(self, status: int, *headers: tuple[str, str]) -> None:
        """Send the status and headers."""
        self.send_response(status)
        for name, value in headers:
            self.send_header(name, value)
        self.end_headers()


class ModelServer(ThreadingHTTPServer):
    """Serves on a free port of 127.0.0.1. `scripts` maps paths to what to do at each request; `seen` is what came."""

    daemon_threads = True

    def __init__(self, cert: Path, key: Path) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(cert, key)
        self._context = context
        self.scripts: dict[str, list[Act]] = {}
        self.seen: list[Seen] = []
        self.stopping = threading.Event()
        self._thread = threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)

    def finish_request(self, request: object, client_address: object) -> None:
        """Handshake on the request's own thread; one that fails is the client's affair."""
        try:
            with self._context.wrap_socket(request, server_side=True) as secure:  # type: ignore[arg-type]
                super().finish_request(secure, client_address)
        except OSError:
            return

    def url(self, path: str = "/model.onnx", host: str = "localhost") -> str:
        """An address on this server."""
        return f"https://{host}:{self.server_address[1]}{path}"

    def __enter__(self) -> "ModelServer":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stopping.set()
        self.shutdown()
        self._thread.join()
        self.server_close()


def serve(
    content: bytes = CONTENT, etag: str | None = ETAG, cut: int | None = None, stall: bool = False, modified: str = ""
) -> Act:
    """The file, or the part asked for when If-Range still fits.

    `cut` ends the connection after that many bytes of the answer; `stall` leaves it open instead.
    """

    def act(handler: Handler) -> None:
        validators = [("ETag", etag)] if etag else []
        validators += [("Last-Modified", modified)] if modified else []
        wanted = re.fullmatch(r"bytes=(\d+)-", handler.headers["Range"] or "")
        if wanted and handler.headers["If-Range"] in (etag, modified):
            start = int(wanted[1])
            if start >= len(content):
                handler.head(416, ("Content-Length", "0"), *validators)
                return
            body = content[start:]
            told = ("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
            handler.head(206, ("Content-Length", str(len(body))), told, *validators)
        else:
            body = content
            handler.head(200, ("Content-Length", str(len(body))), *validators)
        handler.wfile.write(body if cut is None else body[:cut])
        if stall:
            handler.wfile.flush()
            handler.server.stopping.wait(5)

    return act


def chunked(content: bytes = CONTENT, *, end: bool = True) -> Act:
    """The file without a length, in chunks; without its `end` the answer is visibly incomplete."""

    def act(handler: Handler) -> None:
        handler.head(200, ("Transfer-Encoding", "chunked"))
        for start in range(0, len(content), 5000):
            piece = content[start : start + 5000]
            handler.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
        if end:
            handler.wfile.write(b"0\r\n\r\n")

    return act


def status(code: int, *headers: tuple[str, str]) -> Act:
    """An answer without a body."""
    return lambda handler: handler.head(code, ("Content-Length", "0"), *headers)


def redirect(location: str, code: int = 302) -> Act:
    """Send the client elsewhere."""
    return status(code, ("Location", location))


def hang_up() -> Act:
    """End the connection without an answer."""
    return lambda handler: None


def wrong_part() -> Act:
    """A 206 that begins at another byte than was asked for."""

    def act(handler: Handler) -> None:
        told = ("Content-Range", f"bytes 7-{len(CONTENT) - 1}/{len(CONTENT)}")
        handler.head(206, ("Content-Length", str(len(CONTENT) - 7)), told, ("ETag", ETAG))
        handler.wfile.write(CONTENT[7:])

    return act


@dataclass
class Pauses:
    """Takes the place of sleeping."""

    taken: list[float] = field(default_factory=list)

    def __call__(self, seconds: float) -> None:
        self.taken.append(seconds)
