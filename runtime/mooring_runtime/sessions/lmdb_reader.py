"""What can be read of a store in LMDB, with a server's lock around it or on a volume that no server has open."""

import json
import secrets
import struct
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import lmdb

from mooring_runtime.errors import StoreInvalid
from mooring_runtime.sessions import records
from mooring_runtime.sessions.collector import no_collections
from mooring_runtime.sessions.copies import Copy, Kept
from mooring_runtime.sessions.fences import Lock
from mooring_runtime.sessions.journal import JOURNALING, NAMES, Journal, Journaling
from mooring_runtime.sessions.keys import Key
from mooring_runtime.sessions.record import Record, parse
from mooring_runtime.sessions.records import Databases
from mooring_runtime.sessions.store import Corrupt

FILE = "data.mdb"
"""What LMDB calls its file."""
FORMAT = 3
"""Of a store. Of the records in it see `encoding.FORMAT`, which is written in each of them."""
_WITHOUT_JOURNAL = 2
"""Format of stores whose steps all stand where they belong; such a store becomes one of this format when it is opened.
"""
BOOT = struct.Struct("<Q")
"""How the count of openings stands there."""
DOUBT = struct.Struct("<q")
"""How it stands there until when steps may be lost."""


def open_environment(path: Path, map_size: int, *, readonly: bool = False) -> lmdb.Environment:
    """The environment in `path`, once it is sure that its file is whole. Raises StoreInvalid."""
    file = path / FILE
    try:
        # A server alone has its volume, and its reads never wait; `lock=False` leaves a volume that is read as it was.
        environment = lmdb.open(
            str(path),
            map_size=map_size,
            readonly=readonly,
            lock=not readonly,
            max_dbs=5,
            mode=0o770,
            readahead=False,
        )
        needed = (environment.info()["last_pgno"] + 1) * environment.stat()["psize"]
        # Read beyond the file's end, the map gives no error: the process is killed.
        if file.stat().st_size < needed:
            raise StoreInvalid(f"{file} is cut: it has {file.stat().st_size} bytes of {needed}. {WHAT_TO_DO}")
    except lmdb.Error as error:
        raise StoreInvalid(f"{file} cannot be opened: {error}. {WHAT_TO_DO}") from error
    return environment


WHAT_TO_DO = (
    "Restore the volume from a snapshot; or, when its sessions are lost for good, remove data.mdb, lock.mdb and LOCK "
    "there and let the service abandon the store"
)


class LmdbReader:
    """What can be read of a store; see `Store` for all that has its name."""

    def __init__(
        self, path: Path, lock: Lock, environment: lmdb.Environment, journaling: Journaling = JOURNALING
    ) -> None:
        self.path = path
        self._lock = lock
        self._environment = environment
        self._map = threading.Lock()
        """Held by who reads, and by who changes the size of the map: it then lies elsewhere."""
        self._page = environment.stat()["psize"]
        try:
            create = not environment.flags()["readonly"]
            self._databases = Databases(
                *(environment.open_db(name, create=create) for name in (b"meta", b"sessions", b"quarantine"))
            )
            with environment.begin(db=self._databases.meta) as txn:
                found, boot, clean = txn.get(b"store"), txn.get(b"boot"), txn.get(b"clean")
                doubt, lazy = txn.get(b"doubt"), txn.get(b"lazy")
            self._new = found is None
            self.id = secrets.token_hex(16) if found is None else self._id_in(found)
            with environment.begin(buffers=True) as reading:
                self._aside = records.quarantined(reading, self._databases)
            self._journal = self._load(journaling, create)
        except (lmdb.Error, Corrupt) as error:
            raise StoreInvalid(f"{path / FILE} cannot be read: {error}. {WHAT_TO_DO}") from error
        self.boot = 0 if boot is None else BOOT.unpack(boot)[0]
        self.clean = self._new or clean == b"1"
        self._was_lazy = lazy == b"1"
        self.doubt = 0 if doubt is None else DOUBT.unpack(doubt)[0]
        """Until when steps may be lost whose clients have their answers, in milliseconds since 1970. A client whose
        session was not used since then is still to be told."""

    def _load(self, journaling: Journaling, create: bool) -> Journal:
        """The journal, with what is in it. Raises lmdb.Error and Corrupt."""
        databases = []
        with suppress(lmdb.NotFoundError):  # A store without a journal, that is only read.
            databases = [self._environment.open_db(name, create=create) for name in NAMES]
        journal = Journal(databases, journaling)
        with no_collections(), self._environment.begin() as txn:
            journal.load(txn)
        return journal

    def _id_in(self, text: bytes) -> str:
        found = json.loads(text)
        if found["format"] not in {FORMAT, _WITHOUT_JOURNAL}:
            raise StoreInvalid(
                f"{self.path / FILE} has format {found['format']}, and this server knows {FORMAT}: another version of "
                "the server has written it; use that one"
            )
        return str(found["id"])

    def record(self) -> Record | None:
        """See `Store`."""
        with self._map, self._environment.begin(db=self._databases.meta) as txn:
            text = txn.get(b"record")
        return None if text is None else parse(text)

    def copies(self) -> Iterator[tuple[Key, Copy]]:
        """See `Store`."""
        with self._map, no_collections(), self._environment.begin(buffers=True) as txn:
            copies, corrupt = records.listed(txn, self._databases, self._journal)
        for key, why in corrupt:
            self._set_aside(key, why)
        return iter(copies)

    def quarantined(self) -> dict[Key, str]:
        """See `Store`."""
        return dict(self._aside)

    def read(self, key: Key) -> Kept:
        """See `Store`."""
        try:
            pending = records.pending(self._journal, key)
            with self._map, self._environment.begin(buffers=True) as txn:
                return records.read(lambda name: txn.get(name, db=self._databases.sessions), key, pending)
        except KeyError:
            if key in self._aside:
                raise Corrupt(self._aside[key]) from None
            raise
        except Corrupt as error:
            self._set_aside(key, str(error))
            raise

    def _set_aside(self, key: Key, why: str) -> None:
        self._aside[key] = why

    def close(self) -> None:
        """See `Store`."""
        self._environment.close()
        self._lock.release()
