"""The list of sessions: which ones, in which order, page by page, and how pages of several replicas become one. Pure.

Sessions stand in the order of their keys, and a page goes on after the last key of the one before. So a page costs no
memory between two requests, it can be asked of another replica than the one before, and what is created or ends
meanwhile shifts nothing: each session that is there all the time is told exactly once.
"""

import base64
import binascii
from bisect import insort
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from heapq import merge as merged
from itertools import groupby
from typing import NamedTuple

from mooring_runtime.errors.sessions import BadSession
from mooring_runtime.sessions.copies import Copy, Phase
from mooring_runtime.sessions.keys import Key

QUARANTINED = "quarantined"
"""The state of a session that was set aside, because what is on disk of it is torn: nothing else is known of it."""
STATES = ("active", "ended", "moving", QUARANTINED)
DEFAULT_LIMIT = 100
MOST_ROWS = 1000
"""Sessions of one page."""


class Query(NamedTuple):
    """Which sessions are asked for."""

    model: str | None = None
    """Of one model; None: of all."""
    state: str | None = None
    """One of STATES; None: all."""
    prefix: str = ""
    """How the id begins."""
    limit: int = DEFAULT_LIMIT
    after: Key | None = None
    """The last session of the page before; None: the first page."""

    def takes(self, key: Key, copy: Copy | None) -> bool:
        """Whether the session belongs into the list, on this page or a later one; None: it was set aside."""
        if self.after is not None and key <= self.after:
            return False
        if self.model is not None and key.model != self.model:
            return False
        if not key.session.startswith(self.prefix):
            return False
        state = QUARANTINED if copy is None else state_of(copy)
        return state is not None and self.state in (None, state)


@dataclass(frozen=True, slots=True)
class Row:
    """A session in the list; the names are those of the JSON."""

    model: str
    id: str
    state: str
    owner: int
    """Ordinal of the replica that tells of it."""
    step: int | None
    """None, as in what follows: it was set aside."""
    incarnation: str | None
    """A number in decimal: as a number, many a reader of JSON would round it."""
    bytes: int | None
    """Of the state's tensors."""
    version: str | None
    """Of the model."""
    created: str | None
    age_seconds: float | None
    idle_seconds: float | None
    """Since its last step."""
    expires_in_seconds: float | None
    """None: never."""
    cause: str | None
    """Of an ended one: how. Of one that was set aside: why."""

    @property
    def key(self) -> Key:
        """What the list is ordered by."""
        return Key(self.model, self.id)


class Page(NamedTuple):
    """A part of the list."""

    rows: tuple[Row, ...]
    more: bool
    """There are sessions after the last row."""

    @property
    def token(self) -> str | None:
        """What asks for the next page; None: there is none."""
        return token_of(self.rows[-1].key) if self.more and self.rows else None


class Selection:
    """The first sessions that a query takes, out of any number that are added in any order."""

    def __init__(self, query: Query) -> None:
        self._query = query
        self._found: list[tuple[Key, Copy | None]] = []

    def add(self, key: Key, copy: Copy | None) -> None:
        """Look at one session; None: it was set aside."""
        full = len(self._found) > self._query.limit
        if (full and key >= self._found[-1][0]) or not self._query.takes(key, copy):
            return
        insort(self._found, (key, copy), key=_first)
        if full:
            self._found.pop()

    def found(self) -> tuple[list[tuple[Key, Copy | None]], bool]:
        """The sessions of the page in their order, and whether there are more after them."""
        return self._found[: self._query.limit], len(self._found) > self._query.limit


def _first(found: tuple[Key, Copy | None]) -> Key:
    return found[0]


def query_of(parameters: Mapping[str, str]) -> Query:
    """The query in the parameters of an address. Raises BadSession with what is wrong; other parameters are left."""
    state = parameters.get("state") or None
    if state is not None and state not in STATES:
        raise BadSession(f"state is '{state[:100]}': it must be one of {', '.join(STATES)}")
    token = parameters.get("page_token")
    return Query(
        parameters.get("model") or None,
        state,
        parameters.get("prefix", ""),
        whole(parameters.get("limit") or str(DEFAULT_LIMIT), "limit", 1, MOST_ROWS),
        key_of(token) if token else None,
    )


def whole(text: str, name: str, least: int, most: int) -> int:
    """A whole number from a text. Raises BadSession, which calls it `name`."""
    if text.isascii() and text.isdigit() and len(text) < 20 and least <= int(text) <= most:
        return int(text)
    raise BadSession(f"{name} is '{text[:100]}': it must be a whole number from {least} to {most}")


def token_of(key: Key) -> str:
    """The token that asks for what comes after this session."""
    return base64.urlsafe_b64encode(key.encoded()).decode().rstrip("=")


def key_of(token: str) -> Key:
    """The session that a token stands for. Raises BadSession for one that no page had."""
    try:
        return Key.decoded(base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True))
    except (binascii.Error, ValueError):
        raise BadSession(f"page_token is '{token[:100]}': it must be the one of an earlier page") from None


def state_of(copy: Copy) -> str | None:
    """The word for a copy; None: it is no longer here."""
    if copy.phase is Phase.MOVED:
        return None
    if copy.phase is Phase.MOVING:
        return "moving"
    return "active" if copy.end is None else "ended"


def row_of(key: Key, copy: Copy, owner: int, now: int, expires: int | None) -> Row:
    """The row of a copy; `now` and `expires` in milliseconds since 1970, by the clock of who has it."""
    return Row(
        key.model,
        key.session,
        state_of(copy) or "moved",
        owner,
        copy.step,
        str(copy.incarnation),
        copy.size,
        copy.version,
        instant(copy.created),
        _seconds(now - copy.created),
        _seconds(now - copy.last_used),
        None if expires is None else _seconds(expires - now),
        None if copy.end is None else copy.end.cause,
    )


def torn_row(key: Key, owner: int, why: str) -> Row:
    """The row of a session that was set aside."""
    return Row(*key, QUARANTINED, owner, None, None, None, None, None, None, None, None, why)


def instant(milliseconds: int) -> str:
    """A time as RFC 3339 has it, in UTC."""
    told = datetime.fromtimestamp(milliseconds / 1000, UTC).isoformat(timespec="milliseconds")
    return told.replace("+00:00", "Z")


def _seconds(milliseconds: int) -> float:
    """Never less than nothing: a clock may have been set back meanwhile."""
    return max(milliseconds, 0) / 1000


_LAST = {"moving": 1, QUARANTINED: 2}


def joined(pages: Iterable[Page], limit: int) -> Page:
    """One page of those of several replicas that were asked the same: a page that has more is a full one, so that all
    that stands before its last row has been told.
    """
    pages = list(pages)
    rows: list[Row] = []
    for _, same in groupby(merged(*(page.rows for page in pages), key=_key), key=_key):
        if len(rows) == limit:
            return Page(tuple(rows), more=True)
        # A session that is just being moved is told twice: the one who got it has it, and serves it.
        # What one has set aside may be older than what another one has, and is listed by its state.
        rows.append(min(same, key=lambda row: _LAST.get(row.state, 0)))
    return Page(tuple(rows), any(page.more for page in pages))


def _key(row: Row) -> Key:
    return row.key
