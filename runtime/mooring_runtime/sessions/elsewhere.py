"""The seam between the sessions of this replica and those of the others. `finding` is the one with peers.

A session that is not held here is looked for in two steps, each of which only the other side's word can end: `absent`
asks those that may hold it, `pass_on` gives a client's request to the one that should. What is proved is proved for one
epoch; whoever acts on it compares the epoch again when the commit is handed to the store.
"""

from typing import NamedTuple, Protocol

from mooring_runtime.errors.sessions import SessionUnavailable
from mooring_runtime.messages import InferRequest, InferResponse
from mooring_runtime.sessions.keys import Key
from mooring_runtime.sessions.placement import place
from mooring_runtime.sessions.record import ALONE, Record


class At(NamedTuple):
    """Another replica says that it holds the session, or is about to hand it over."""

    ordinal: int
    moving: bool = False
    """It is frozen there, on its way: nobody applies a step now, in a moment somebody will."""
    torn: bool = False
    """What is there was set aside: nobody can use it until a person has dropped it."""


class NotHere(SessionUnavailable):
    """What a replica answers to a request that was passed on to it and is not for it. Nothing was done, and nothing
    will be. No client sees this: who passed the request on tries another replica.
    """

    def __init__(self, session: str, at: int | None = None, *, moving: bool = False) -> None:
        """`at`: the ordinal that holds the session, as far as this replica knows."""
        super().__init__(
            f"session '{session}' is not here; try again", "moving" if moving else "search", session=session
        )
        self.at = at
        self.moving = moving


class Passed(NamedTuple):
    """A client's request on its way to another replica."""

    model: str
    version: str | None
    request: InferRequest
    """`session` is set; `timeout` is what the client allows for the wait before a run."""
    deadline: float | None
    """When the answer is too late, by the clock of the event loop; None: the client named no time."""


class Elsewhere(Protocol):
    """What is known of other replicas. Every method is called on the event loop; those that are not `async` are quick,
    they are asked on the way of each step that is not for a session held here.
    """

    ordinal: int
    """Of this replica."""

    def record(self) -> Record:
        """The adopted record: what new copies are created under, and what `place` and `absent` are asked under.

        It changes when the adoption of the next one is handed to the store, not after: a creation that was decided
        under the old one and is handed to the store later would else be committed behind it.

        Raises SessionUnavailable: `no-membership` where there is none, `volume-replaced` where this store is not the
        one that it names for this ordinal, so that nothing may be done here.
        """

    async def absent(self, key: Key) -> At | None:
        """Ask every other ordinal that may hold the session, under the present record; None: each has said that it
        does not. Asks nobody where the record is settled. Only the place of the key asks.

        Raises SessionUnavailable: `search` with the ordinals that did not answer, `stranded` for one that is not to
        run.
        """

    async def pass_on(self, ordinal: int, passed: Passed) -> InferResponse:
        """Have another replica answer. Raises its RequestError as it gave it, NotHere included.

        Raises SessionUnavailable `owner-down` where nothing was sent, OutcomeUnknown where something was and no answer
        came.
        """


class Alone:
    """There is nobody else: a server that stands alone is the only member, for ever."""

    ordinal = 0

    def record(self) -> Record:
        """As the protocol has it."""
        return ALONE

    async def absent(self, key: Key) -> At | None:
        """Nobody has it."""
        return None

    async def pass_on(self, ordinal: int, passed: Passed) -> InferResponse:
        """There is nobody to pass it on to, and no key's place is elsewhere."""
        raise AssertionError(f"ordinal {ordinal} of a server that stands alone")


def placed(elsewhere: Elsewhere, key: Key) -> int:
    """The ordinal where a session should be, under the present record. Raises as `Elsewhere.record`."""
    return place(key, elsewhere.record().size)
