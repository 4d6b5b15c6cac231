"""Sessions of a volume that no server has open: a lost one that was found again, a store that was set aside."""

import contextlib
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from mooring_runtime.errors import FatalError
from mooring_runtime.session_cli.api import Failed
from mooring_runtime.sessions import encoding
from mooring_runtime.sessions.copies import Kept, Phase
from mooring_runtime.sessions.inspection import Moment, detail_of, row_at
from mooring_runtime.sessions.keys import Key
from mooring_runtime.sessions.listing import Page, Query, Selection
from mooring_runtime.sessions.lmdb_reader import LmdbReader
from mooring_runtime.sessions.lmdb_store import read_only
from mooring_runtime.sessions.store import Corrupt

_NOBODY = -1


class Volume:
    """A store, opened to be read. Every method blocks, and raises Failed."""

    def __init__(self, store: LmdbReader) -> None:
        self._store = store
        self._copies = dict(store.copies())
        self._now = time.time_ns() // 1_000_000
        record = store.record()
        named = {} if record is None else {store: ordinal for ordinal, store in record.stores.items()}
        self._owner = named.get(store.id, _NOBODY)

    def page(self, query: Query) -> Page:
        """A page of the list."""
        selection = Selection(query)
        for key, copy in self._copies.items():
            selection.add(key, copy)
        found, more = selection.found()
        # What is torn stands beside the list, with what is wrong with it: `set_aside`.
        return Page(tuple(row_at(key, copy, self._moment()) for key, copy in found if copy is not None), more)

    def rows(self, query: Query) -> tuple[list[dict[str, Any]], bool]:
        """The first sessions that the query takes, as JSON has them, and whether there are more."""
        page = self.page(query)
        return [asdict(row) for row in page.rows], page.more

    def set_aside(self) -> dict[Key, str]:
        """The sessions that are torn, and what is wrong with each."""
        return self._store.quarantined()

    def detail(self, session: str, model: str | None) -> dict[str, Any]:
        """All that is known of a session."""
        key, kept = self._read(session, model)
        return detail_of(key, kept, self._moment())

    def export(self, session: str, model: str | None) -> bytes:
        """The file of a session."""
        return encoding.pack(*self._read(session, model))

    def _moment(self) -> Moment:
        return Moment(self._owner, self._now)

    def _read(self, session: str, model: str | None) -> tuple[Key, Kept]:
        found = [
            key
            for key, copy in self._copies.items()
            if key.session == session and model in (None, key.model) and copy.phase is not Phase.MOVED
        ]
        if not found:
            torn = {key: text for key, text in self.set_aside().items() if key.session == session}
            told = f"it was set aside: {next(iter(torn.values()))}" if torn else "it is not on this volume"
            raise Failed(f"there is no session '{session}': {told}")
        if len(found) > 1:
            raise Failed(f"sessions of several models are called '{session}': {_names(found)}; choose one by --model")
        try:
            return found[0], self._store.read(found[0])
        except Corrupt as torn:
            raise Failed(f"session '{session}' cannot be read: {torn}") from None


def _names(keys: list[Key]) -> str:
    return ", ".join(sorted(key.model for key in keys))


@contextlib.contextmanager
def opened(path: Path) -> Iterator[Volume]:
    """The store at `path`, until the block ends."""
    try:
        store = read_only(path)
    except FatalError as error:
        raise Failed(str(error)) from None
    try:
        yield Volume(store)
    finally:
        store.close()
