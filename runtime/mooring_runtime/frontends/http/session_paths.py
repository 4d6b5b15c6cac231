"""The paths of /v2/sessions, and what answers them at a server that keeps no sessions: it has no need to import what
keeps them, which takes its time at the start, and memory.
"""

from typing import Any

from mooring_runtime.errors import Unsupported
from mooring_runtime.frontends.http.messages import Request, Respond
from mooring_runtime.frontends.http.router import Found
from mooring_runtime.frontends.http.services import Route

ALL = "/v2/sessions"
IMPORT = f"{ALL}/import"
_OF_ONE = (
    ("GET", ""),
    ("DELETE", ""),
    ("GET", "export"),
    ("POST", "fork"),
    ("POST", "reset"),
    ("POST", "end"),
    ("GET", "trace"),
    ("POST", "trace"),
)


def path_of(word: str) -> str:
    """The path of a call about one session; `word` stands behind its id, if there is one."""
    return f"{ALL}/{{session}}{'/' if word else ''}{word}"


PATHS = (("GET", ALL), ("POST", ALL), ("POST", IMPORT), *((method, path_of(word)) for method, word in _OF_ONE))
"""Methods and patterns, in the order in which they are searched."""


class NoSessions:
    """Says at every path that nothing is kept here."""

    def routes(self) -> list[Route]:
        """The table."""
        return [(method, path, _refuse) for method, path in PATHS]


def _refuse(_found: Found[Any], _request: Request, _respond: Respond) -> None:
    refusal = Unsupported("this server keeps no sessions: MOORING_SESSION_PATH is not set")
    refusal.applied = "no"
    raise refusal
