"""What goes to the store, and what comes back from it, in the table's words."""

import asyncio

from mooring_runtime.errors import RequestError
from mooring_runtime.errors.sessions import SessionConflict, SessionRefused, SessionUnavailable
from mooring_runtime.sessions.copies import Copy, Kept, Phase, apart
from mooring_runtime.sessions.entries import Entry
from mooring_runtime.sessions.keys import Key
from mooring_runtime.sessions.store import Change, StoreFailed, StoreFull

_new = tuple.__new__
"""Makes a named tuple in half the time that its constructor takes."""


def nobody(error: RequestError | None) -> None:
    """Nobody is told."""


async def until(written: "asyncio.Future[None]") -> None:
    """Wait for a commit however often the one who waits is cancelled, and raise that then."""
    cancelled: asyncio.CancelledError | None = None
    while not written.done():
        try:
            await asyncio.wait((written,))
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is not None:
        written.exception()  # Has been seen: else the loop would complain.
        raise cancelled
    written.result()


def change_of(entry: Entry, kept: Kept | None, new_state: bool) -> Change:
    """What the store is to write so that the session is `kept`; what is there already is not named again."""
    if kept is None:
        return Change(entry.key, None)
    copy, state, replies = kept
    before = entry.copy
    if not new_state or before is None or not entry.read:
        same = replies is entry.replies and before is not None
        return _new(Change, (entry.key, copy, state if new_state else None, None if same else replies, False))
    stands = apart(copy, replies)
    return _new(Change, (entry.key, copy, state, replies, not stands[1] and stands == apart(before, entry.replies)))


_WORDS = {Phase.HELD: "active", Phase.MOVING: "moving", Phase.MOVED: "moved"}


def word(copy: Copy) -> str:
    """Under which a copy is counted: one of `metrics.sessions.SESSION_STATES`."""
    return "ended" if copy.phase is Phase.HELD and copy.end is not None else _WORDS[copy.phase]


def last_used(item: tuple[Key, Copy]) -> int:
    """Milliseconds since 1970 of the last step of a session, or of its end."""
    copy = item[1]
    return copy.last_used if copy.end is None else copy.end.time


def refusal(failed: StoreFailed, session: str) -> RequestError:
    """What a client is told whose commit did not happen."""
    if isinstance(failed, StoreFull):
        return SessionRefused(f"session '{session}': {failed}", "volume-full", session=session)
    # What is on disk is as it was, and whole.
    return SessionUnavailable(f"session '{session}': {failed}", "owner-down", session=session)


def lost(entry: Entry) -> SessionConflict:
    """What is told to a step that stands on others which were undone."""
    session = entry.key.session
    return SessionConflict(
        f"session '{session}': steps before this one could not be put on disk and are undone; ask where it stands",
        "rewound",
        session=session,
    )
