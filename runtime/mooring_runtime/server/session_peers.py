"""/v2/sessions of the other replicas, which this one asks on behalf of a client."""

from collections.abc import Sequence
from typing import Protocol

from mooring_runtime.errors.sessions import OutcomeUnknown, SessionUnavailable
from mooring_runtime.frontends.http.messages import JSON, OCTETS
from mooring_runtime.sessions.administration import Call, Told
from mooring_runtime.sessions.membership import Membership
from mooring_runtime.sessions.peers import PeerFailed, Unanswered, Unreachable

_LOOK, _CHANGE = 5.0, 30.0
"""Seconds for an answer to a GET, and to anything else: that waits in the queue of its session, and for the disk."""


class Client(Protocol):
    """What is needed of `PeerClient`."""

    async def ask(self, ordinal: int, method: str, target: str, body: bytes, within: float) -> tuple[int, bool, bytes]:
        """See `PeerClient.ask`."""


class PeerSessions:
    """`sessions.administration.Others` over the peer port."""

    def __init__(self, client: Client, membership: Membership) -> None:
        self._client = client
        self._membership = membership

    def ordinals(self) -> Sequence[int]:
        """See `Others`."""
        record = self._membership.adopted
        if record is None:
            return ()
        return [ordinal for ordinal in range(max(record.size, *record.past, 0)) if ordinal != self._membership.ordinal]

    async def ask(self, ordinal: int, call: Call) -> Told:
        """See `Others`."""
        looks = call.method == "GET"
        try:
            status, octets, body = await self._client.ask(ordinal, *call, _LOOK if looks else _CHANGE)
        except Unanswered as failed:
            if not looks:
                raise OutcomeUnknown(
                    f"ordinal {ordinal} was asked, and its answer was lost: {failed}; look whether it was done"
                ) from failed
            raise self._down(ordinal, failed) from failed
        except PeerFailed as failed:
            raise self._down(ordinal, failed) from failed
        return Told(status, (OCTETS if octets else JSON).decode(), body)

    def _down(self, ordinal: int, failed: PeerFailed) -> SessionUnavailable:
        record = self._membership.adopted
        stranded = isinstance(failed, Unreachable) and record is not None and ordinal >= record.size
        return SessionUnavailable(
            f"ordinal {ordinal}, which should answer, does not: {failed}", "stranded" if stranded else "owner-down"
        )
