"""Who may use /v2/sessions: everybody so far as MOORING_SESSION_API says, and who has the token all of it."""

import enum
import hmac
import logging
from pathlib import Path

from mooring_runtime.errors.sessions import SessionsForbidden
from mooring_runtime.frontends.http.messages import Request

log = logging.getLogger(__name__)

_LARGEST = 4096
"""Bytes of a token's file."""


class Right(enum.IntEnum):
    """What a route needs, and what a client has; each includes those below it."""

    NOTHING = 0
    READ = 1
    """Which sessions there are and how they stand, and to have one made: what a client can learn and do by steps too.
    Not their states, which are the data of those who made the steps."""
    FULL = 2
    """States, and every change."""


GIVEN = {"off": Right.NOTHING, "read": Right.READ, "full": Right.FULL}
"""What MOORING_SESSION_API gives to who has no token."""


class TokenFile:
    """A secret in a file, read again when the file changes: a mounted Secret is written anew while the server runs."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._seen: tuple[int, int, int] | None = None
        self._token = b""
        self._told = False

    def matches(self, given: bytes) -> bool:
        """Whether `given` is the token, in a time that tells nothing of it. No token is ever an empty one."""
        token = self.read()
        return bool(token) and hmac.compare_digest(token, given)

    def read(self) -> bytes:
        """The token as it is now; empty: there is none."""
        try:
            status = self._path.stat()
            seen = (status.st_mtime_ns, status.st_ino, status.st_size)
            if seen != self._seen:
                with self._path.open("rb") as file:
                    self._token = file.read(_LARGEST).strip()
                self._seen = seen
            self._told = False
        except OSError as error:
            if not self._told:  # Once, not at every request.
                log.error("cannot read the token of sessions: %s; nobody is let in by it", error)
            self._seen, self._token, self._told = None, b"", True
        return self._token


class Access:
    """The rule of one port."""

    def __init__(self, given: Right, token: TokenFile | None) -> None:
        """`given`: what everybody may."""
        self._given = given
        self._token = token

    def require(self, request: Request, needed: Right) -> None:
        """Raise SessionsForbidden unless the request may do what needs this right."""
        if needed <= self._given:
            return
        scheme, _, given = request.headers.get(b"authorization", b"").partition(b" ")
        if scheme.lower() == b"bearer" and self._token is not None and self._token.matches(given.strip()):
            return
        if self._token is None:
            told = "MOORING_SESSION_API allows it to nobody, and MOORING_SESSION_TOKEN_FILE names no token"
        elif given:
            told = "the token in `Authorization` is not that of MOORING_SESSION_TOKEN_FILE"
        else:
            told = "it needs the header `Authorization: Bearer TOKEN`"
        word = "read" if needed is Right.READ else "change or hand out"
        raise SessionsForbidden(f"this request may not {word} sessions: {told}")
