"""The peer port without a network: what is made of a step that was passed on, whatever becomes of it."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from mooring_runtime.dataplane import DataPlane
from mooring_runtime.errors import InferenceFailed, RequestError
from mooring_runtime.errors.sessions import SessionUnavailable
from mooring_runtime.frontends.http.messages import Head, Reply, Request
from mooring_runtime.frontends.http.peers import PeerHandler
from mooring_runtime.frontends.http.session_access import TokenFile
from mooring_runtime.messages import InferRequest, InferResponse, SessionInfo
from mooring_runtime.repository import Repository
from mooring_runtime.scheduling import Ticket
from mooring_runtime.sessions.passing import Step, decode_outcome, encode_step
from mooring_runtime.sessions.record import Record
from tests.support.neighbours import Site, request_of

Answered = Callable[[InferResponse | RequestError], None]


class Plane(DataPlane):
    """Answers every request with `outcome`."""

    def __init__(self, outcome: InferResponse | RequestError) -> None:
        super().__init__(Repository())
        self.outcome = outcome
        self.asked: list[InferRequest] = []

    def infer(
        self, name: str, version: str | None, decode: object, reply: Answered, *, passed_on: bool = False
    ) -> Ticket | None:
        assert passed_on
        self.asked.append(decode(None))  # type: ignore[operator]
        reply(self.outcome)
        return None


def unwritable() -> RequestError:
    error = SessionUnavailable("moving", "moving")
    vars(error)["odd"] = object()
    return error


@pytest.mark.parametrize(
    ("outcome", "applied"),
    [
        (InferResponse("m", "1", (), parameters={"odd": object()}, session=SessionInfo("a", 3, 7)), "yes"),  # type: ignore[dict-item]
        (unwritable(), "no"),
    ],
)
def test_an_outcome_that_cannot_be_written_is_told_all_the_same(
    outcome: InferResponse | RequestError, applied: str, tmp_path: Path
) -> None:
    async def work() -> None:
        token = tmp_path / "token"
        token.write_text("secret")
        site = Site(1)
        site.start(Record(1, 1))
        handler = PeerHandler(Plane(outcome), site[0].membership, site[0].receiver, TokenFile(token))
        head = Head(b"POST", b"/step", {b"authorization": b"Bearer secret", b"x-mooring-to": b"0"})
        replies: list[Reply] = []
        handler(Request(head, encode_step(Step("m", None, request_of("a"), None))), replies.append)
        told = decode_outcome(b"".join(map(bytes, replies[0].body)))
        assert isinstance(told, InferenceFailed)
        assert told.applied == applied
        site.end()

    asyncio.run(work())
