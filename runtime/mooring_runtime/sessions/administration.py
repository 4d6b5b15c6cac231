"""What the API of sessions does at one replica, and the seam to the same API of the others.

Every change of a session is a turn of its queue, as a step is, and goes by the holder's rules. Looking at one waits for
nobody, so that a session whose step hangs can be looked at too.
"""

import asyncio
from collections.abc import Callable, Collection, Sequence
from typing import Any, NamedTuple, Protocol

from mooring_runtime.errors import UnknownModel
from mooring_runtime.errors.sessions import BadSession, SessionGone, SessionUnavailable
from mooring_runtime.sessions import encoding
from mooring_runtime.sessions.budget import expires
from mooring_runtime.sessions.copies import Copy, Kept, Phase
from mooring_runtime.sessions.dropping import drop
from mooring_runtime.sessions.elsewhere import NotHere
from mooring_runtime.sessions.entries import Entry
from mooring_runtime.sessions.holder import Birth, Holder
from mooring_runtime.sessions.inspection import Moment, detail_of, row_at
from mooring_runtime.sessions.keys import Key
from mooring_runtime.sessions.listing import Page, Query, Selection, torn_row
from mooring_runtime.sessions.store import Corrupt
from mooring_runtime.sessions.trace import TracedStep, Traces

_SLICE = 500
"""Sessions that are looked at in one turn of the loop: a quarter of a millisecond, and two at the worst."""


class Call(NamedTuple):
    """A request of this API on its way to another replica, which is to answer for itself alone."""

    method: str
    target: str
    """Path and query."""
    body: bytes = b""


class Told(NamedTuple):
    """What another replica has answered."""

    status: int
    content_type: str
    body: bytes


class Others(Protocol):
    """The same API of the other replicas."""

    def ordinals(self) -> Sequence[int]:
        """The others that may have sessions under the present record: members and those that were."""

    async def ask(self, ordinal: int, call: Call) -> Told:
        """Send a request, once. Raises SessionUnavailable `owner-down` or `stranded` where nothing was sent,
        OutcomeUnknown where something was and no answer came.
        """


class Nobody:
    """A server that stands alone has no others."""

    def ordinals(self) -> Sequence[int]:
        """None."""
        return ()

    async def ask(self, ordinal: int, call: Call) -> Told:
        """There is nobody to ask."""
        raise AssertionError(f"ordinal {ordinal} of a server that stands alone")


Readable = Callable[[str, str, str], str | None]
"""Given a model's name and the version and the fingerprint of a state: why no version that is loaded here can go on
from it; None: one can.
"""


def _anything(_model: str, _version: str, _fingerprint: str) -> str | None:
    return None


class SessionAdministration:
    """Of one replica; on the event loop."""

    def __init__(
        self,
        holder: Holder,
        traces: Traces,
        models: Callable[[], Collection[str]],
        *,
        others: Others | None = None,
        readable: Readable = _anything,
    ) -> None:
        """`models` gives the names of the models that keep state here."""
        self.others: Others = Nobody() if others is None else others
        self.traces = traces
        self._holder = holder
        self._table = holder.table
        self._models = models
        self._readable = readable

    # --- looking

    @property
    def ordinal(self) -> int:
        """Of this replica."""
        return self._holder.elsewhere.ordinal

    def model(self, named: str | None) -> str:
        """The model of a request that may name one. Raises BadSession where it does not, and there are several."""
        if named:
            return named
        models = sorted(self._models())
        if len(models) != 1:
            told = f"{', '.join(models)} keep state" if models else "none of this server's models keeps state"
            raise BadSession(f"name the model of the session, as in ?model=NAME: {told}")
        return models[0]

    async def page(self, query: Query) -> Page:
        """A page of the sessions here. Raises SessionUnavailable where this replica has no say."""
        self._holder.elsewhere.record()
        selection, torn = Selection(query), dict(self._table.quarantined)
        for key in torn:
            selection.add(key, None)
        for number, entry in enumerate(self._table, 1):
            if entry.copy is not None and entry.key not in torn:
                selection.add(entry.key, entry.copy)
            if not number % _SLICE:
                await asyncio.sleep(0)
        found, more = selection.found()
        rows = (
            torn_row(key, self.ordinal, torn[key]) if copy is None else row_at(key, copy, self._moment(key, copy))
            for key, copy in found
        )
        return Page(tuple(rows), more)

    async def inspect(self, key: Key) -> dict[str, Any]:
        """All that is known of a session that is here. Raises NotHere."""
        entry = self._entry(key)
        if entry.copy is not None and entry.copy.phase is Phase.HELD and not entry.read and not entry.busy:
            async with self._table.turn(key):  # It is on disk only: the turn brings it into memory.
                entry = self._entry(key)
        if entry.copy is None:
            raise NotHere(key.session)
        return await self._detail(key, Kept(entry.copy, entry.state, entry.replies))

    async def export(self, key: Key) -> bytes:
        """The file of a session that lives here, between two of its steps. Raises NotHere, SessionGone."""
        kept = await self._holder.read(key)
        if kept.copy.end is not None:
            raise SessionGone(
                f"session '{key.session}' has ended after step {kept.copy.end.step}: there is no state to hand out",
                kept.copy.end.cause,
                session=key.session,
            )
        idle = max(0, self._holder.now() - kept.copy.last_used)
        return await asyncio.to_thread(encoding.pack, key, kept, idle)

    def trace(self, key: Key) -> list[TracedStep]:
        """The steps that were kept of a session that is here. Raises NotHere."""
        self._entry(key)
        return self.traces.steps(key) or []

    def watch(self, key: Key, steps: int) -> None:
        """Keep the last `steps` steps of a session that is here from now on. Raises NotHere, BadSession."""
        self._entry(key)
        self.traces.watch(key, steps)

    def _entry(self, key: Key) -> Entry:
        entry = self._table.get(key)
        if entry is None or entry.copy is None or entry.copy.phase is Phase.MOVED:
            raise NotHere(key.session)
        return entry

    async def _detail(self, key: Key, kept: Kept) -> dict[str, Any]:
        moment = self._moment(key, kept.copy, self._table.get(key))
        return await asyncio.to_thread(detail_of, key, kept, moment)

    def _moment(self, key: Key, copy: Copy, entry: Entry | None = None) -> Moment:
        holder, now = self._holder, self._holder.now()
        over = expires(copy, holder.limits, holder.opened, now) if copy.live else None
        if entry is None:
            return Moment(holder.elsewhere.ordinal, now, over)
        waiting = len(entry.queue)
        watched, error = self.traces.bound(key), self.traces.last_error(key)
        return Moment(holder.elsewhere.ordinal, now, over, entry.durable, waiting, watched, error)

    # --- changing: each tells what it has made, for the session may leave at once, and must not be changed twice then

    async def locate(self, key: Key, *, local: bool) -> int | None:
        """Who is to be asked about a session; None: it is here, or on its way from here.

        Raises UnknownSession where it is proved that nobody has it, SessionGone `maybe-lost`, SessionUnavailable, and
        with `local` NotHere.
        """
        # A store that was given up, or is not the one that this ordinal must have, is not to be spoken of.
        self._holder.elsewhere.record()
        torn = self._table.quarantined.get(key)
        if torn is not None:
            raise SessionUnavailable(
                f"session '{key.session}' was set aside: {torn}; see the server's log",
                "quarantined",
                session=key.session,
            )
        entry = self._table.get(key)
        if entry is not None and entry.copy is not None and entry.copy.phase is not Phase.MOVED:
            return None
        ordinal = await self._holder.locate(key, passed_on=local)
        return None if ordinal == self._holder.elsewhere.ordinal else ordinal

    async def create(self, model: str, session: str | None) -> dict[str, Any]:
        """Make a session that begins with its first step; without an id, under one that is minted.

        Raises as `Holder.create`, and UnknownModel for a model that keeps no state.
        """
        self._require(model)
        key, copy = await self._holder.create(model, session)
        return await self._detail(key, Kept(copy))

    async def bring(self, model: str, session: str | None, kept: Kept) -> dict[str, Any]:
        """Make a session of what another one is, or was when it was exported: it goes on from that step, in a life of
        its own. Raises as `create`, and SessionUnavailable `version-missing` for a state that no model here can take.
        """
        self._require(model)
        copy = kept.copy
        if copy.end is not None:
            raise BadSession(f"this is the file of a session that has ended ({copy.end.cause}): it has no state")
        why = self._readable(model, copy.version, copy.fingerprint) if kept.state else None
        if why is not None:
            raise SessionUnavailable(f"this state cannot be taken: {why}", "version-missing")
        birth = Birth(copy.version, copy.fingerprint, kept.state, copy.step, kept.replies)
        key, made = await self._holder.create(model, session, birth)
        return await self._detail(key, Kept(made, kept.state, kept.replies))

    async def end(self, key: Key) -> dict[str, Any]:
        """End a session; one that has ended stays as it is. Raises as `Holder.end`."""
        copy = await self._holder.end(key)
        entry = self._table.get(key)
        return await self._detail(key, Kept(copy, (), () if entry is None else entry.replies))

    def torn(self, key: Key) -> bool:
        """Whether the session was set aside here."""
        return key in self._table.quarantined

    async def drop(self, key: Key) -> dict[str, Any]:
        """Delete what was set aside of a session here. Raises NotHere where nothing was, SessionUnavailable,
        SessionRefused.
        """
        record = self._holder.elsewhere.record()
        if not self.torn(key):
            raise NotHere(key.session)
        return {"model": key.model, "id": key.session, "dropped": await drop(self._table, key, record)}

    async def reset(self, key: Key) -> dict[str, Any]:
        """Begin a new life of a session that is here. Raises as `Holder.reset`."""
        return await self._detail(key, Kept(await self._holder.reset(key)))

    def _require(self, model: str) -> None:
        models = self._models()
        if model not in models:
            told = f"there are {', '.join(sorted(models))}" if models else "none of this server's models does"
            raise UnknownModel(f"no model '{model}' keeps state here: {told}")


async def unpacked(data: bytes) -> encoding.Packed:
    """The session in an exported file. Raises BadSession with what is wrong with it."""
    try:
        return await asyncio.to_thread(encoding.unpack, data)
    except Corrupt as error:
        raise BadSession(str(error)) from None
