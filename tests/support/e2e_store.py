"""A model store for tests: files over https, for whoever brings the token.

Usage: python -m tests.support.e2e_store ADDRESS PORT FOLDER TOKEN (tls.crt and tls.key stand in FOLDER)
"""

import functools
import http.server
import ssl
import sys
from pathlib import Path
from typing import Any


class Handler(http.server.SimpleHTTPRequestHandler):
    """Answers 401 without the token."""

    def __init__(self, *arguments: Any, token: str, directory: str) -> None:
        self._token = token
        super().__init__(*arguments, directory=directory)

    def do_GET(self) -> None:
        if self.headers.get("Authorization") != f"Bearer {self._token}":
            self.send_error(401)
            return
        super().do_GET()


def main(address: str, port: str, folder: str, token: str) -> None:
    handler = functools.partial(Handler, token=token, directory=folder)
    server = http.server.ThreadingHTTPServer((address, int(port)), handler)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(Path(folder) / "tls.crt", Path(folder) / "tls.key")
    server.socket = context.wrap_socket(server.socket, server_side=True)
    print("listening", flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main(*sys.argv[1:])
