"""Lets go of a session that was set aside, when a person says so: nobody can use it, nor end it, nor hand it over.

What was set aside may have been the newest that there was, or all that was known of a session that was handed on.
While the record is not settled another replica may have an older copy, which was on its way here: it must neither be
taken nor go on as if nothing were missing. So a mark stays until the record is settled, and who hands over a copy that
is older than the mark hears so: it asks all others, as before a creation, and its client is told.
"""

import logging

from mooring_runtime.sessions.copies import Copy, Kept, Phase
from mooring_runtime.sessions.keys import Key
from mooring_runtime.sessions.record import Record
from mooring_runtime.sessions.table import Table

log = logging.getLogger(__name__)


async def drop(table: Table, key: Key, record: Record) -> str:
    """Delete what was set aside of a session, under the adopted record; why that was.

    Raises KeyError for one that was not set aside, and SessionRefused or SessionUnavailable where the store fails.
    """
    why = table.quarantined.pop(key)
    entry = table.get(key)
    if entry is not None:  # What was known of it before it was found torn, and counts no more.
        entry.copy, entry.lost, entry.rewound = None, False, False
        entry.forget()
    try:
        # Every turn was refused until now, so this one begins at once, before anybody else looks.
        async with table.turn(key, needs_state=False) as turn:
            try:
                mark = Kept(Copy(Phase.MOVED, record.epoch, rewound=True))
                await table.write_all([(turn, None if record.settled else mark)])
            except BaseException:
                table.quarantined.setdefault(key, why)
                raise
    finally:
        if key in table.quarantined:
            log.error("session '%s' of model '%s' that was set aside could not be dropped", key.session, key.model)
    table.stats.dropped[key.model] += 1
    log.warning("session '%s' of model '%s' that was set aside was dropped: %s", key.session, key.model, why)
    return why
