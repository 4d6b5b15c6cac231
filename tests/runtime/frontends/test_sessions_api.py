"""/v2/sessions over HTTP at a server that stands alone; every answer is held against docs/openapi/sessions.yaml."""

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import orjson
import pytest

from mooring_runtime.errors import InferenceFailed
from mooring_runtime.frontends.http.app import HttpApp
from mooring_runtime.frontends.http.messages import OCTETS
from mooring_runtime.frontends.http.services import Opening, Options
from mooring_runtime.sessions.budget import Limits
from mooring_runtime.sessions.encoding import state_digest, unpack
from mooring_runtime.sessions.holder import Birth
from mooring_runtime.sessions.keys import MINTED, Key
from mooring_runtime.sessions.trace import TracedStep
from tests.support.serving import Served
from tests.support.session_replicas import FULL, MODEL, Replicas, answered, body, cause, get, post, replicas, tensor


@pytest.fixture
def alone() -> Iterator[Replicas]:
    with replicas() as service:
        yield service


async def test_a_server_without_sessions_says_so() -> None:
    reply = Served().ask("GET", "/v2/sessions")
    assert "MOORING_SESSION_PATH is not set" in body(reply, 501)["error"]
    assert (body(reply, 501)["cause"], body(reply, 501)["applied"]) == ("unsupported", "no")


@pytest.mark.parametrize(
    ("document", "status", "told"), [(b"{", 400, "invalid"), (b"[]", 400, "invalid"), (b'{"model": "x"}', 404, "")]
)
async def test_every_error_says_that_nothing_was_done(alone: Replicas, document: bytes, status: int, told: str) -> None:
    refused = body(await alone.ask(0, "POST", "/v2/sessions", document), status)
    assert refused["applied"] == "no"
    assert refused["cause"] == (told or "unknown_model")


async def test_a_volume_that_is_not_open_yet_is_waited_for(alone: Replicas) -> None:
    opening = Opening()
    app = HttpApp(replace(Served(options=FULL).services, sessions=opening))
    reply = await answered(app, "GET", "/v2/sessions")
    assert "is not open yet" in body(reply, 503)["error"]
    assert body(reply, 503)["applied"] == "no"
    assert (b"Retry-After", b"1") in reply.headers
    opening.administration = alone[0].administration
    assert body(await answered(app, "GET", "/v2/sessions"))["sessions"] == []


async def test_create_inspect_end(alone: Replicas) -> None:
    made = body(await post(alone, "/v2/sessions", {"model": MODEL, "id": "a/b c"}), 201)
    assert (made["id"], made["state"], made["step"], made["bytes"], made["owner"]) == ("a/b c", "active", 0, 0, 0)
    assert made["digest"] is None
    seen = body(await get(alone, "/v2/sessions/a%2Fb%20c"))
    assert seen == made
    assert cause(await post(alone, "/v2/sessions", {"id": "a/b c"}), 409) == "exists"
    ended = body(await post(alone, "/v2/sessions/a%2Fb%20c/end"))
    assert (ended["state"], ended["cause"], ended["ended"]["step"]) == ("ended", "ended", 0)
    again = body(await post(alone, "/v2/sessions/a%2Fb%20c/end"))
    assert again["ended"] == ended["ended"]
    new_life = body(await post(alone, "/v2/sessions", {"id": "a/b c"}), 201)
    assert new_life["incarnation"] != made["incarnation"]


async def test_an_id_can_be_minted(alone: Replicas) -> None:
    for document in (None, {"id": "new"}, {"model": MODEL}):
        made = body(await post(alone, "/v2/sessions", document), 201)
        assert MINTED.fullmatch(made["id"])
    other = "0." + "a" * 26
    assert cause(await post(alone, "/v2/sessions", {"id": other}), 400) == "reserved-id"


async def test_all_that_is_known_of_a_session(alone: Replicas) -> None:
    replica = alone[0]
    key = await replica.hold("a")
    replica.now += 2500
    replica.traces.failed(key, InferenceFailed("the model broke"), 4)
    seen = body(await get(alone, f"/v2/sessions/a?model={MODEL}"))
    assert seen["digest"] == state_digest((tensor(1.5),)).hex()
    assert seen["tensors"] == [{"name": "h", "datatype": "FP32", "shape": [1, 4]}]
    assert (seen["step"], seen["durable_step"], seen["bytes"], seen["version"]) == (3, 3, 16, "1")
    assert [reply["step"] for reply in seen["replies"]] == [1, 2, 3]
    assert (seen["age_seconds"], seen["idle_seconds"], seen["expires_in_seconds"]) == (2.5, 2.5, 57.5)
    error = seen["last_error"]
    assert (error["cause"], error["message"], error["step"]) == ("backend", "the model broke", 4)
    assert error["time"] == "2023-11-14T22:13:22.500Z"


async def test_a_session_that_is_on_disk_only_is_read(alone: Replicas) -> None:
    key = await alone[0].hold("a")
    entry = alone[0].table.get(key)
    assert entry is not None
    entry.forget()
    assert body(await get(alone, "/v2/sessions/a"))["digest"] == state_digest((tensor(1.5),)).hex()


async def test_a_session_whose_step_hangs_can_be_looked_at(alone: Replicas) -> None:
    key = await alone[0].hold("a")
    async with alone[0].table.turn(key):
        ending = asyncio.ensure_future(post(alone, "/v2/sessions/a/end"))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        seen = body(await get(alone, "/v2/sessions/a"))
        assert (seen["state"], seen["waiting"]) == ("active", 1)
        assert not ending.done()  # In the queue, as a step is.
    assert body(await ending)["state"] == "ended"


async def test_nobody_waits_for_a_state_that_is_in_nobodys_memory(alone: Replicas) -> None:
    key = await alone[0].hold("a")
    entry = alone[0].table.get(key)
    assert entry is not None
    entry.forget()
    async with alone[0].table.turn(key, needs_state=False):
        seen = body(await get(alone, "/v2/sessions/a"))
        assert (seen["step"], seen["digest"]) == (3, None)


async def test_what_is_not_there_is_404(alone: Replicas) -> None:
    for method, word in (("GET", ""), ("GET", "/export"), ("POST", "/reset"), ("POST", "/end"), ("GET", "/trace")):
        assert cause(await alone.ask(0, method, f"/v2/sessions/nobody{word}"), 404) == "unknown"
    assert cause(await post(alone, "/v2/sessions/nobody/fork", {"id": "b"}), 404) == "unknown"


async def test_what_was_set_aside_is_not_unknown(alone: Replicas) -> None:
    key = await alone[0].hold("a")
    alone[0].store.corrupt(key, "the checksum of its state is wrong")
    entry = alone[0].table.get(key)
    assert entry is not None
    entry.forget()
    for _ in range(2):  # When it is found, and from then on.
        document = body(await get(alone, "/v2/sessions/a"), 503)
        assert document["cause"] == "quarantined"
        assert "the checksum of its state is wrong" in document["error"]
    assert cause(await post(alone, "/v2/sessions", {"id": "a"}), 503) == "quarantined"
    for query in ("", "?state=quarantined"):
        rows = body(await get(alone, f"/v2/sessions{query}"))["sessions"]
        told = [(row["id"], row["state"], row["step"], row["cause"]) for row in rows]
        assert told == [("a", "quarantined", None, "the checksum of its state is wrong")]
    assert body(await get(alone, "/v2/sessions?state=active"))["sessions"] == []
    dropped = body(await alone.ask(0, "DELETE", "/v2/sessions/a"))
    assert dropped == {"model": "m", "id": "a", "dropped": "the checksum of its state is wrong"}
    assert cause(await get(alone, "/v2/sessions/a"), 404) == "unknown"
    assert body(await get(alone, "/v2/sessions"))["sessions"] == []
    assert body(await post(alone, "/v2/sessions", {"id": "a"}), 201)["step"] == 0


async def test_what_can_be_used_is_not_dropped(alone: Replicas) -> None:
    await alone[0].hold("a")
    for session in ("a", "nobody"):
        reply = await alone.ask(0, "DELETE", f"/v2/sessions/{session}")
        assert cause(reply, 400) == "bad-session"
    assert cause(await alone.ask(0, "DELETE", "/v2/sessions/a?local=true"), 421) == "not-here"
    assert body(await get(alone, "/v2/sessions/a"))["step"] == 3


async def test_reset_begins_a_new_life(alone: Replicas) -> None:
    await alone[0].hold("a")
    before = body(await get(alone, "/v2/sessions/a"))
    after = body(await post(alone, "/v2/sessions/a/reset"))
    assert (after["step"], after["bytes"], after["replies"], after["state"]) == (0, 0, [], "active")
    assert after["incarnation"] != before["incarnation"]
    assert after["epoch"] == before["epoch"]


async def test_export_and_import(alone: Replicas) -> None:
    await alone[0].hold("a")
    exported = await get(alone, "/v2/sessions/a/export")
    assert (exported.status, exported.content_type) == (200, OCTETS)
    file = b"".join(exported.body)
    assert unpack(file).key == Key(MODEL, "a")
    assert cause(await alone.ask(0, "POST", "/v2/sessions/import", file), 409) == "exists"
    before = body(await get(alone, "/v2/sessions/a"))
    copied = body(await alone.ask(0, "POST", "/v2/sessions/import?id=b", file), 201)
    for field in ("step", "digest", "bytes", "version", "fingerprint", "replies"):
        assert copied[field] == before[field]
    assert copied["incarnation"] != before["incarnation"]
    body(await post(alone, "/v2/sessions/a/end"))
    restored = body(await alone.ask(0, "POST", "/v2/sessions/import", file), 201)
    assert (restored["id"], restored["step"], restored["state"]) == ("a", 3, "active")
    minted = body(await alone.ask(0, "POST", "/v2/sessions/import?id=new", file), 201)
    assert MINTED.fullmatch(minted["id"])


async def test_a_file_that_was_changed_is_refused(alone: Replicas) -> None:
    await alone[0].hold("a")
    file = bytearray(b"".join((await get(alone, "/v2/sessions/a/export")).body))
    file[-20] ^= 1
    reply = await alone.ask(0, "POST", "/v2/sessions/import?id=b", bytes(file))
    assert "checksum" in body(reply, 400)["error"]
    assert cause(await alone.ask(0, "POST", "/v2/sessions/import?id=b", b"hello"), 400) == "bad-session"
    assert cause(await get(alone, "/v2/sessions/b"), 404) == "unknown"


async def test_a_state_that_no_model_can_take_is_refused(alone: Replicas) -> None:
    await alone[0].hold("a")
    file = b"".join((await get(alone, "/v2/sessions/a/export")).body)
    alone.unreadable = "version 2 of model 'm' has another schema"
    reply = await alone.ask(0, "POST", "/v2/sessions/import?id=b", file)
    document = body(reply, 503)
    assert document["cause"] == "version-missing"
    assert "version 2 of model 'm' has another schema" in document["error"]
    assert (
        "no model 'other' keeps state here"
        in body(await alone.ask(0, "POST", "/v2/sessions/import?id=b&model=other", file), 404)["error"]
    )


async def test_what_has_ended_has_no_state_to_hand_out(alone: Replicas) -> None:
    await alone[0].hold("a")
    await post(alone, "/v2/sessions/a/end")
    assert cause(await get(alone, "/v2/sessions/a/export"), 410) == "ended"
    assert cause(await post(alone, "/v2/sessions/a/fork", {"id": "b"}), 410) == "ended"


async def test_fork(alone: Replicas) -> None:
    await alone[0].hold("a")
    before = body(await get(alone, "/v2/sessions/a"))
    other = body(await post(alone, "/v2/sessions/a/fork", {"id": "b"}), 201)
    assert (other["id"], other["digest"], other["step"]) == ("b", before["digest"], 3)
    assert MINTED.fullmatch(body(await post(alone, "/v2/sessions/a/fork"), 201)["id"])
    assert cause(await post(alone, "/v2/sessions/a/fork", {"id": "b"}), 409) == "exists"
    assert cause(await post(alone, "/v2/sessions/a/fork", {"id": "a"}), 409) == "exists"
    assert body(await get(alone, "/v2/sessions/a")) == before


async def test_the_trace_of_a_session(alone: Replicas) -> None:
    key = await alone[0].hold("a")
    assert body(await get(alone, "/v2/sessions/a/trace")) == {"keeps": 0, "steps": []}
    assert body(await post(alone, "/v2/sessions/a/trace", {"keep": 2})) == {"keeps": 2, "steps": []}
    for step in (4, 5, 6):
        alone[0].traces.applied(key, TracedStep(step, 1000, 0.1, 0.2, 0.3, 16, b"\xab"))
    trace = body(await get(alone, "/v2/sessions/a/trace"))
    assert [step["step"] for step in trace["steps"]] == [5, 6]
    assert trace["steps"][0]["digest"] == "ab"
    assert trace["steps"][0]["time"] == "1970-01-01T00:00:01.000Z"
    assert body(await get(alone, "/v2/sessions/a"))["watched"] == 2
    assert body(await post(alone, "/v2/sessions/a/trace", {"keep": 0})) == {"keeps": 0, "steps": []}
    assert "must be from 0 to 1000" in body(await post(alone, "/v2/sessions/a/trace", {"keep": 1001}), 400)["error"]
    assert "keep is 'x'" in body(await post(alone, "/v2/sessions/a/trace", {"keep": "x"}), 400)["error"]


async def test_the_list_page_by_page(alone: Replicas) -> None:
    for name in ("b1", "a1", "a2"):
        await alone[0].hold(name)
    await post(alone, "/v2/sessions/a2/end")
    first = body(await get(alone, "/v2/sessions?limit=2"))
    assert [row["id"] for row in first["sessions"]] == ["a1", "a2"]
    rest = body(await get(alone, f"/v2/sessions?limit=2&page_token={first['next_page_token']}"))
    assert [row["id"] for row in rest["sessions"]] == ["b1"]
    assert (rest["next_page_token"], rest["unanswered"]) == (None, [])
    ended = body(await get(alone, "/v2/sessions?state=ended"))["sessions"]
    assert [(row["id"], row["cause"]) for row in ended] == [("a2", "ended")]
    assert [row["id"] for row in body(await get(alone, "/v2/sessions?prefix=b"))["sessions"]] == ["b1"]
    assert body(await get(alone, "/v2/sessions?model=other"))["sessions"] == []


async def test_the_list_of_many_gives_others_their_turn(alone: Replicas) -> None:
    async def turns() -> int:
        """Turns of the loop that others have meanwhile."""
        count = 0
        listing = asyncio.ensure_future(get(alone, "/v2/sessions?limit=1"))
        while not listing.done():
            count += 1
            await asyncio.sleep(0)
        assert len(body(await listing)["sessions"]) == 1
        return count

    await alone[0].hold("0")
    before = await turns()
    await asyncio.gather(*(alone[0].hold(f"{number:04}", Birth()) for number in range(2500)))
    assert await turns() == before + 5


@pytest.mark.parametrize(
    ("method", "target", "document", "words"),
    [
        ("GET", "/v2/sessions?stat=ended", None, "there is no parameter 'stat' of this call, there are model, state"),
        ("GET", "/v2/sessions?limit=1&limit=2", None, "'limit' stands in the address twice"),
        ("GET", "/v2/sessions?prefix=%ff", None, "is not UTF-8"),
        ("GET", "/v2/sessions?local=yes", None, "local is 'yes': it must be true or false"),
        ("GET", "/v2/sessions/a?force=1", None, "there is no parameter 'force'"),
        ("GET", "/v2/sessions/" + "a" * 201, None, "at most 200 bytes"),
        ("POST", "/v2/sessions", {"name": "a"}, "there is no field 'name' of this call, there are model, id"),
        ("POST", "/v2/sessions", {"id": 7}, "id is 7: it must be a string"),
        ("POST", "/v2/sessions", {"id": "0"}, "the id '0' means no session; 'new' asks for a new one"),
        ("POST", "/v2/sessions", {"id": ""}, "the id '' means no session"),
        ("GET", "/v2/sessions/new", None, "'new' names no session that is there"),
        ("POST", "/v2/sessions", [], "must be a JSON object"),
        ("POST", "/v2/sessions/a/fork", {"to": "b"}, "there is no field 'to'"),
    ],
)
async def test_what_is_wrong_with_a_request_is_told(
    alone: Replicas, method: str, target: str, document: object, words: str
) -> None:
    reply = await alone.ask(0, method, target, b"" if document is None else orjson.dumps(document))
    assert words in body(reply, 400)["error"]


async def test_a_model_must_be_named_where_there_are_several(alone: Replicas) -> None:
    alone.models.add("n")
    await alone[0].hold("a")
    assert (
        "name the model of the session, as in ?model=NAME: m, n"
        in body(await get(alone, "/v2/sessions/a"), 400)["error"]
    )
    assert body(await get(alone, "/v2/sessions/a?model=m"))["id"] == "a"
    assert cause(await get(alone, "/v2/sessions/a?model=n"), 404) == "unknown"


async def test_who_may_do_what(tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("secret")
    shown = {b"Authorization": b"Bearer secret"}
    with replicas(options=Options(session_api="read", session_token_file=token)) as service:
        await service[0].hold("a")
        for target in ("/v2/sessions", "/v2/sessions/a", "/v2/sessions/a/trace"):
            assert (await get(service, target)).status == 200
        assert (await post(service, "/v2/sessions")).status == 201
        for method, word in (
            ("GET", "export"),
            ("POST", "fork"),
            ("POST", "reset"),
            ("POST", "trace"),
            ("POST", "end"),
        ):
            target = f"/v2/sessions/a/{word}"
            assert cause(await service.ask(0, method, target), 403) == "forbidden"
            assert (
                await service.ask(0, method, target, b'{"keep": 1}' if word == "trace" else b"", shown)
            ).status < 300
        assert cause(await post(service, "/v2/sessions/import"), 403) == "forbidden"
    with replicas(options=Options(session_api="off")) as service:
        for target in ("/v2/sessions", "/v2/sessions/a", "/v2/sessions/a/trace"):
            assert cause(await service.ask(0, "GET", target, b"", shown), 403) == "forbidden"
        assert cause(await post(service, "/v2/sessions"), 403) == "forbidden"


async def test_limits_of_sessions_hold_here_too() -> None:
    with replicas(limits=Limits(sessions=1, session_bytes=10)) as service:
        await post(service, "/v2/sessions", {"id": "a"})
        assert cause(await post(service, "/v2/sessions", {"id": "b"}), 507) == "too-many-sessions"
    with replicas() as service:
        await service[0].hold("a")
        file = b"".join((await get(service, "/v2/sessions/a/export")).body)
    with replicas(limits=Limits(session_bytes=10)) as service:
        assert cause(await service.ask(0, "POST", "/v2/sessions/import", file), 507) == "session-too-big"


async def test_a_full_disk_is_told(alone: Replicas) -> None:
    await alone[0].hold("a")
    alone[0].store.full = True
    assert cause(await post(alone, "/v2/sessions/a/fork", {"id": "b"}), 507) == "volume-full"
    assert cause(await get(alone, "/v2/sessions/b"), 404) == "unknown"
    assert body(await get(alone, "/v2/sessions/a"))["step"] == 3
