import pytest

from mooring_runtime.errors.sessions import OutcomeUnknown, SessionUnavailable
from mooring_runtime.server.session_peers import PeerSessions
from mooring_runtime.sessions.administration import Call, Told
from mooring_runtime.sessions.membership import Membership
from mooring_runtime.sessions.peers import PeerFailed, Refused, Unanswered, Unreachable
from mooring_runtime.sessions.record import Record
from mooring_runtime.sessions.table import Table
from tests.support.memory_store import Disk, MemoryStore

LOOK, CHANGE = Call("GET", "/v2/sessions?local=true"), Call("POST", "/v2/sessions/a/end?local=true", b"{}")


class Client:
    """Answers as it is told."""

    def __init__(self, answer: tuple[int, bool, bytes] | PeerFailed) -> None:
        self.answer = answer
        self.asked: list[tuple[int, str, str, bytes]] = []

    async def ask(self, ordinal: int, method: str, target: str, body: bytes, within: float) -> tuple[int, bool, bytes]:
        self.asked.append((ordinal, method, target, body))
        if isinstance(self.answer, PeerFailed):
            raise self.answer
        return self.answer


def sessions(client: Client, record: Record | None = Record(2, 2, past=(4,)), ordinal: int = 1) -> PeerSessions:  # noqa: B008
    table = Table(MemoryStore(Disk(record=record)), 2**20)
    membership = Membership(table, ordinal)
    table.close()
    return PeerSessions(client, membership)


def test_members_are_asked_and_those_that_were() -> None:
    client = Client((200, False, b"{}"))
    assert list(sessions(client).ordinals()) == [0, 2, 3]
    assert list(sessions(client, Record(1, 2), 0).ordinals()) == [1]
    assert list(sessions(client, None).ordinals()) == []


async def test_an_answer_is_passed_back() -> None:
    client = Client((409, False, b'{"error": "no"}'))
    assert await sessions(client).ask(0, CHANGE) == Told(409, "application/json", b'{"error": "no"}')
    assert client.asked == [(0, *CHANGE)]
    assert (await sessions(Client((200, True, b"file"))).ask(0, LOOK)).content_type == "application/octet-stream"


@pytest.mark.parametrize(
    ("failure", "ordinal", "cause"),
    [
        (Unreachable("refused"), 0, "owner-down"),
        (Unreachable("refused"), 3, "stranded"),
        (Refused("another one"), 0, "owner-down"),
        (Unanswered("no answer"), 0, "owner-down"),
    ],
)
async def test_who_does_not_answer_a_question_is_down(failure: PeerFailed, ordinal: int, cause: str) -> None:
    with pytest.raises(
        SessionUnavailable, match=f"ordinal {ordinal}, which should answer, does not: {failure}"
    ) as told:
        await sessions(Client(failure)).ask(ordinal, LOOK)
    assert told.value.cause == cause


async def test_nobody_knows_whether_a_change_was_made_whose_answer_is_lost() -> None:
    with pytest.raises(OutcomeUnknown, match="ordinal 0 was asked, and its answer was lost") as told:
        await sessions(Client(Unanswered("no answer"))).ask(0, CHANGE)
    assert told.value.applied == "unknown"
    with pytest.raises(SessionUnavailable):
        await sessions(Client(Unreachable("refused"))).ask(0, CHANGE)
