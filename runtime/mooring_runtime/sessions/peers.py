"""Talking with other replicas: the transport that is asked for, and the rules that hold for every message.

`Talk` puts each message into its envelope, brings the receiver's record up to date where it is behind, and adopts the
receiver's where ours is. An answer says under which epoch it was given.
"""

import asyncio
import logging
from typing import NamedTuple, Protocol

from mooring_runtime.errors import RequestError
from mooring_runtime.errors.sessions import SessionUnavailable
from mooring_runtime.messages import InferResponse
from mooring_runtime.sessions.elsewhere import NotHere
from mooring_runtime.sessions.membership import Membership
from mooring_runtime.sessions.messages import Answer, Behind, Envelope, Introduce, Message
from mooring_runtime.sessions.passing import Step

log = logging.getLogger(__name__)

_TRIES = 3
"""Times that a message is sent to a replica that lacks our record: more than twice only while the record changes."""
_WITHIN = 2.0
"""Seconds for a record to be adopted."""


class PeerFailed(Exception):  # noqa: N818 - named by what happened, as in `errors`
    """Another replica gave no answer that can be used. Nothing was done there, but for `Unanswered`."""


class Unreachable(PeerFailed):
    """There was no connection, so nothing was sent."""


class Unanswered(PeerFailed):
    """The message, or some of it, was sent, and no answer came: what became of it is not known."""


class Refused(PeerFailed):
    """It has answered that it will not: another one than was meant, one without a membership, or whose volume was
    replaced, or that does not know our token.
    """


class Reply(NamedTuple):
    """What comes back for a request that was passed on."""

    epoch: int
    """Of the receiver's record."""
    outcome: InferResponse | RequestError | None
    """None: the receiver does not have the sender's record, and has done nothing."""


class Peers(Protocol):
    """The transport. Both methods raise Unreachable, Unanswered or Refused."""

    async def send(self, ordinal: int, envelope: Envelope, message: Message, within: float) -> Answer:
        """Send a message and wait for its answer for so many seconds."""

    async def pass_on(self, ordinal: int, envelope: Envelope, step: Step) -> Reply:
        """Send a client's request, once, and wait as long as it allows. Who is cancelled waits no longer."""


class Talk:
    """What this replica says to others, under its own record."""

    def __init__(self, peers: Peers, membership: Membership) -> None:
        self._peers = peers
        self._membership = membership
        self._catching_up: dict[int, asyncio.Task[None]] = {}

    async def tell(self, ordinal: int, message: Message, within: float, store: str = "") -> Answer:
        """Send a message; `store` is the id of the one that is meant. Raises PeerFailed.

        An answer that brings a newer record is returned after that was adopted.
        """
        for _ in range(_TRIES):
            answer = await self._peers.send(ordinal, self._envelope(ordinal, store), message, within)
            if answer.record is not None and answer.record.epoch > self._membership.epoch:
                await self._membership.adopt(answer.record)
            if not isinstance(answer.body, Behind):
                return answer
            await self._introduce(ordinal, within)
        raise Refused(f"ordinal {ordinal} does not adopt the membership record of epoch {self._membership.epoch}")

    async def pass_on(self, ordinal: int, step: Step) -> InferResponse | RequestError:
        """Send a client's request, and only to this replica. Raises PeerFailed.

        A refusal that was given under a newer record is returned after that was adopted.
        """
        for _ in range(_TRIES):
            reply = await self._peers.pass_on(ordinal, self._envelope(ordinal, ""), step)
            if reply.outcome is None:
                await self._introduce(ordinal, _WITHIN)
                continue
            if reply.epoch > self._membership.epoch:
                if isinstance(reply.outcome, NotHere):
                    await self._introduce(ordinal, _WITHIN)
                elif ordinal not in self._catching_up:
                    task = asyncio.get_running_loop().create_task(self._catch_up(ordinal))
                    self._catching_up[ordinal] = task
            return reply.outcome
        raise Refused(f"ordinal {ordinal} does not adopt the membership record of epoch {self._membership.epoch}")

    def _envelope(self, ordinal: int, store: str) -> Envelope:
        record = self._membership.adopted
        if record is None:
            return Envelope(0, self._membership.ordinal, ordinal, store)
        return Envelope(record.epoch, self._membership.ordinal, ordinal, store or record.stores.get(ordinal, ""))

    async def _introduce(self, ordinal: int, within: float) -> None:
        """Give another replica our record, and adopt its own where that is newer. Raises Unreachable or Refused: about
        what this was done for, nothing is open.
        """
        record = self._membership.adopted
        if record is None:
            raise Refused("this replica has no membership record")
        try:
            answer = await self._peers.send(ordinal, self._envelope(ordinal, ""), Introduce(record), within)
        except Unanswered as failed:
            raise Unreachable(str(failed)) from failed
        if answer.record is not None and answer.record.epoch > self._membership.epoch:
            await self._membership.adopt(answer.record)

    async def _catch_up(self, ordinal: int) -> None:
        """Learn the newer record of a replica whose answer was good without it."""
        try:
            await self._introduce(ordinal, _WITHIN)
        except (PeerFailed, SessionUnavailable) as failed:  # Somebody else will bring it.
            log.info("cannot learn the membership record of ordinal %d: %s", ordinal, failed)
        finally:
            self._catching_up.pop(ordinal, None)

    def close(self) -> None:
        """End what is under way."""
        for task in self._catching_up.values():
            task.cancel()
