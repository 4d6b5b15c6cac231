"""/v2/sessions at any of several replicas; every answer is held against docs/openapi/sessions.yaml."""

from collections.abc import Iterator
from urllib.parse import quote

import pytest

from mooring_runtime.sessions.copies import Phase
from mooring_runtime.sessions.encoding import state_digest, unpack
from mooring_runtime.sessions.keys import Key
from mooring_runtime.sessions.placement import place
from mooring_runtime.sessions.record import Record
from tests.support.session_replicas import MODEL, Replicas, body, cause, get, post, replicas, tensor


@pytest.fixture
def three() -> Iterator[Replicas]:
    with replicas(3) as service:
        yield service


def home(session: str, size: int = 3) -> int:
    return place(Key(MODEL, session), size)


def an_id(at: int, size: int = 3) -> str:
    """An id whose place is this ordinal."""
    return next(f"s{number}" for number in range(1000) if home(f"s{number}", size) == at)


async def test_any_replica_answers_about_a_session(three: Replicas) -> None:
    session = an_id(at=1)
    await three[1].hold(session)
    for ordinal in range(3):
        seen = body(await get(three, f"/v2/sessions/{session}", at=ordinal))
        assert (seen["id"], seen["owner"]) == (session, 1)
        assert body(await get(three, f"/v2/sessions/{session}/trace", at=ordinal))["keeps"] == 0
        assert (
            unpack(b"".join((await get(three, f"/v2/sessions/{session}/export", at=ordinal)).body)).key.session
            == session
        )
    assert body(await post(three, f"/v2/sessions/{session}/trace", {"keep": 5}, at=0))["keeps"] == 5
    assert three[1].traces.bound(Key(MODEL, session)) == 5
    assert body(await post(three, f"/v2/sessions/{session}/reset", at=2))["step"] == 0
    assert body(await post(three, f"/v2/sessions/{session}/end", at=0))["state"] == "ended"
    assert [len(replica.table) for replica in three.replicas] == [0, 1, 0]


async def test_ids_go_through_whatever_they_are_made_of(three: Replicas) -> None:
    session = next(name for name in (f"a/b?c=d&é%2F #{number}" for number in range(99)) if home(name) == 2)
    made = body(await post(three, "/v2/sessions", {"id": session}), 201)
    assert (made["id"], made["owner"]) == (session, 2)
    seen = body(await get(three, f"/v2/sessions/{quote(session, safe='')}", at=1))
    assert (seen["id"], seen["owner"]) == (session, 2)


async def test_sessions_are_made_where_their_place_is(three: Replicas) -> None:
    for ordinal in range(3):
        session = an_id(at=ordinal)
        assert body(await post(three, "/v2/sessions", {"id": session}, at=0), 201)["owner"] == ordinal
        assert cause(await post(three, "/v2/sessions", {"id": session}, at=1), 409) == "exists"
        made = body(await post(three, "/v2/sessions", at=ordinal), 201)
        assert made["id"].startswith(f"{ordinal}.")


async def test_a_fork_goes_to_its_own_place(three: Replicas) -> None:
    source, target = an_id(at=1), an_id(at=2)
    await three[1].hold(source)
    made = body(await post(three, f"/v2/sessions/{source}/fork", {"id": target}, at=0), 201)
    assert (made["owner"], made["step"], made["digest"]) == (2, 3, state_digest((tensor(1.5),)).hex())
    assert cause(await post(three, f"/v2/sessions/{source}/fork", {"id": target}, at=1), 409) == "exists"


async def test_a_session_that_is_not_at_its_place_yet_is_found(three: Replicas) -> None:
    three.record = Record(2, 2, past=(3,))
    session = next(f"s{number}" for number in range(99) if home(f"s{number}") == 2)
    await three[2].hold(session)
    for ordinal in range(3):
        assert body(await get(three, f"/v2/sessions/{session}", at=ordinal))["owner"] == 2
        assert cause(await post(three, "/v2/sessions", {"id": session}, at=ordinal), 409) == "exists"
    assert body(await post(three, f"/v2/sessions/{session}/end", at=0))["owner"] == 2


async def test_a_replica_that_is_to_go_makes_no_sessions(three: Replicas) -> None:
    three.record = Record(2, 2, past=(3,))
    made = body(await post(three, "/v2/sessions", at=2), 201)
    assert made["owner"] < 2


async def test_unknown_is_said_only_when_it_is_proved(three: Replicas) -> None:
    three.record = Record(2, 2, past=(3,))
    session = next(f"s{number}" for number in range(99) if home(f"s{number}") == 2)
    assert cause(await get(three, f"/v2/sessions/{session}"), 404) == "unknown"
    three.down.add(2)
    assert cause(await get(three, f"/v2/sessions/{session}"), 503) == "search"
    reply = await post(three, "/v2/sessions", {"id": session})
    assert cause(reply, 503) == "search"
    assert (b"Retry-After", b"1") in reply.headers


async def test_an_owner_that_is_down_is_told(three: Replicas) -> None:
    session = an_id(at=1)
    await three[1].hold(session)
    three.down.add(1)
    for method, word in (("GET", ""), ("GET", "/export"), ("POST", "/end"), ("POST", "/reset")):
        assert cause(await three.ask(0, method, f"/v2/sessions/{session}{word}"), 503) == "owner-down"


async def test_a_request_that_was_passed_on_goes_nowhere_else(three: Replicas) -> None:
    session = an_id(at=1)
    await three[1].hold(session)
    document = body(await get(three, f"/v2/sessions/{session}?local=true", at=0), 421)
    assert (document["cause"], document["applied"], document["at"]) == ("not-here", "no", None)
    document = body(await post(three, "/v2/sessions?local=true", {"id": "x"}, at=(home("x") + 1) % 3), 421)
    assert document["at"] == home("x")
    assert three.asked == []
    await get(three, f"/v2/sessions/{session}")
    assert len(three.asked) == 1


async def test_a_session_on_its_way_can_be_looked_at_and_not_changed(three: Replicas) -> None:
    session = an_id(at=1)
    key = await three[0].hold(session)
    await three[0].freeze(key, to=1)
    seen = body(await get(three, f"/v2/sessions/{session}"))
    assert (seen["state"], seen["moving_to"]) == ("moving", 1)
    for word in ("reset", "end"):
        assert cause(await post(three, f"/v2/sessions/{session}/{word}"), 503) == "moving"
    assert cause(await get(three, f"/v2/sessions/{session}/export"), 503) == "moving"
    entry = three[0].table.get(key)
    assert entry is not None
    assert entry.copy is not None
    assert entry.copy.phase is Phase.MOVING


async def test_the_list_is_that_of_all(three: Replicas) -> None:
    held = {}
    for ordinal in range(3):
        for number in range(3):
            session = f"{ordinal}{number}"
            await three[ordinal].hold(session)
            held[session] = ordinal
    told: dict[str, int] = {}
    token = ""
    for _ in range(9):
        page = body(await get(three, f"/v2/sessions?limit=2&page_token={token}", at=1))
        told.update({row["id"]: row["owner"] for row in page["sessions"]})
        token = page["next_page_token"]
        if token is None:
            break
    assert told == held
    assert list(told) == sorted(held)


async def test_the_list_names_those_that_did_not_answer(three: Replicas) -> None:
    await three[0].hold("a")
    await three[2].hold("c")
    three.down.add(1)
    page = body(await get(three, "/v2/sessions"))
    assert [row["id"] for row in page["sessions"]] == ["a", "c"]
    assert page["unanswered"] == [{"ordinal": 1, "error": "ordinal 1 does not answer"}]


async def test_the_list_asks_those_that_were_members(three: Replicas) -> None:
    three.record = Record(2, 2, past=(3,))
    await three[2].hold("c")
    assert [row["owner"] for row in body(await get(three, "/v2/sessions"))["sessions"]] == [2]
    assert body(await get(three, "/v2/sessions?local=true"))["sessions"] == []


async def test_a_volume_that_is_not_the_right_one_is_not_spoken_of(three: Replicas) -> None:
    session = an_id(at=1)
    await three[1].hold(session)
    await three[0].hold("a")
    three.replaced.add(1)
    for at in (0, 1):
        for word in ("", "/export", "/trace"):
            assert cause(await get(three, f"/v2/sessions/{session}{word}", at=at), 503) == "volume-replaced"
        assert cause(await post(three, f"/v2/sessions/{session}/end", at=at), 503) == "volume-replaced"
        assert cause(await post(three, "/v2/sessions", {"id": session}, at=at), 503) == "volume-replaced"
        page = body(await get(three, "/v2/sessions", at=at))
        assert [row["id"] for row in page["sessions"]] == ["a"]
        [silent] = page["unanswered"]
        assert silent["ordinal"] == 1
        assert "this volume is not the one of this ordinal" in silent["error"]


async def test_what_was_set_aside_is_dropped_wherever_it_is(three: Replicas) -> None:
    session = an_id(at=1)
    key = await three[1].hold(session)
    three[2].table.quarantined[key] = "why"
    rows = body(await get(three, "/v2/sessions?state=quarantined"))["sessions"]
    assert [(row["id"], row["owner"], row["cause"]) for row in rows] == [(session, 2, "why")]
    assert [row["state"] for row in body(await get(three, "/v2/sessions"))["sessions"]] == ["active"]
    three.down.add(2)
    assert cause(await three.ask(0, "DELETE", f"/v2/sessions/{session}"), 503) == "search"
    three.down.clear()
    assert body(await three.ask(0, "DELETE", f"/v2/sessions/{session}"))["dropped"] == "why"
    assert three[2].table.quarantined == {}
    assert body(await get(three, f"/v2/sessions/{session}", at=2))["owner"] == 1
    assert cause(await three.ask(0, "DELETE", f"/v2/sessions/{session}"), 400) == "bad-session"
