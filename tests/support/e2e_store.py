"""A model store for tests: files over https, for whoever brings the token.

Usage: python -m tests.support.e2e_store ADDRESS PORT CERTIFICATE KEY FOLDER TOKEN
"""

import functools
import http.server
import sys
from typing import Any

from tests.support import e2e_https


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


def main(address: str, port: str, certificate: str, key: str, folder: str, token: str) -> None:
    handler = functools.partial(Handler, token=token, directory=folder)
    e2e_https.serve(handler, address, port, certificate, key)


if __name__ == "__main__":
    main(*sys.argv[1:])
