"""How clients of HTTP name sessions: by every route, and by bodies that are read quickly."""

import json
from typing import Any

import orjson
import pytest

from mooring_runtime.messages import SessionCall
from tests.support.serving import Line, Served, http
from tests.support.session_requests import BINARY_X, BODIES, INFER, RAW_X, X, binary, error, headers, infer
from tests.support.stateful_plane import INCARNATION, MINTED, StatefulHttp, stateful_metadata

# --- naming


@pytest.mark.parametrize("target", BODIES)
def test_every_route_takes_headers_and_tells_of_the_session(target: str) -> None:
    served = StatefulHttp()
    told = {"X-Mooring-Session": "a%20b", "X-Mooring-Step": "3", "x-mooring-session-start": "true"}
    reply = served.ask(target, BODIES[target], {**told, "X-Mooring-Session-End": "true", "X-Mooring-Incarnation": "5"})
    assert reply.status == 200, reply
    assert served.plane.calls == [SessionCall("a b", True, True, False, 3, 5)]
    found = headers(reply)
    assert found["X-Mooring-Session"] == "a%20b"
    assert found["X-Mooring-Step"] == "3"
    assert found["X-Mooring-Incarnation"] == str(INCARNATION)
    assert found["X-Mooring-Session-End"] == "true"
    assert "Set-Cookie" not in found


@pytest.mark.parametrize("target", BODIES)
def test_every_route_takes_the_cookie_and_sets_it_for_who_uses_it(target: str) -> None:
    served = StatefulHttp()
    begun = headers(served.ask(target, BODIES[target], {"X-Mooring-Session": "new"}))
    assert begun["X-Mooring-Session"] == MINTED
    assert begun["Set-Cookie"] == f"mooring-session={MINTED}; Path=/; HttpOnly; SameSite=Lax"
    cookie = begun["Set-Cookie"].partition(";")[0]
    gone_on = headers(served.ask(target, BODIES[target], {"Cookie": f"other=1; {cookie}"}))
    assert gone_on["Set-Cookie"] == begun["Set-Cookie"]
    # A browser has no other way to begin anew than to ask for it beside the cookie that it cannot leave away.
    served.ask(target, BODIES[target], {"Cookie": cookie, "X-Mooring-Session": "new"})
    ended = headers(served.ask(target, BODIES[target], {"Cookie": cookie, "X-Mooring-Session-End": "true"}))
    assert ended["Set-Cookie"].endswith("; Max-Age=0")
    new, same = SessionCall("", new=True), SessionCall(MINTED)
    assert served.plane.calls == [new, same, new, same._replace(end=True)]


@pytest.mark.parametrize("target", BODIES)
def test_every_route_lets_a_request_without_a_session_through_to_who_refuses_it(target: str) -> None:
    served = StatefulHttp()
    reply = served.ask(target, BODIES[target], {"X-Mooring-Session": "0", "Cookie": "mooring-session="})
    assert served.plane.calls == [None]
    assert not [name for name in headers(reply) if name.startswith("X-Mooring")]


@pytest.mark.parametrize(
    ("target", "body"),
    [
        (INFER, infer({"sequence_id": 7, "sequence_start": True, "sequence_step": 1})),
        ("/v2/models/echo/generate", b'{"in_FP32":[1,2],"sequence_id":7,"sequence_start":true,"sequence_step":1}'),
        (
            "/v2/models/echo/generate_stream",
            b'{"in_FP32":[1,2],"parameters":{"sequence_id":"7","sequence_start":true,"sequence_step":1}}',
        ),
        ("/invocations", infer({"sequence_id": 7, "sequence_start": True, "sequence_step": 1})),
        ("/predictions/echo", infer({"sequence_id": 7, "sequence_start": True, "sequence_step": 1})),
    ],
)
def test_the_parameters_of_v2_name_a_session(target: str, body: bytes) -> None:
    served = StatefulHttp()
    reply = served.ask(target, body)
    assert reply.status == 200, reply
    assert served.plane.calls == [SessionCall("7", start=True, step=1)]
    assert headers(reply)["X-Mooring-Session"] == "7"
    assert b'"sequence_id":"7"' in b"".join(reply.body)


@pytest.mark.parametrize(
    ("top", "nested", "status"),
    [
        ({"sequence_id": "a"}, {"sequence_id": "b"}, 400),
        ({"sequence_id": 7}, {"sequence_id": "7"}, 200),
        ({"sequence_id": "a", "sequence_step": 1}, {"sequence_step": 2}, 400),
    ],
)
def test_what_generate_says_twice_must_agree(top: dict[str, Any], nested: dict[str, Any], status: int) -> None:
    served = StatefulHttp()
    body = json.dumps({"in_FP32": [1, 2], **top, "parameters": nested}).encode()
    for word in ("generate", "generate_stream"):
        assert served.ask(f"/v2/models/echo/{word}", body).status == status
    assert len(served.plane.calls) == (2 if status == 200 else 0)


def test_the_same_session_may_be_named_twice() -> None:
    served = StatefulHttp()
    told: dict[str, str | bytes] = {"X-Mooring-Session": "7", "Cookie": "mooring-session=7"}
    served.ask(INFER, infer({"sequence_id": 7, "sequence_step": 2}), told)
    served.ask(INFER, infer({"sequence_id": "new"}), {"X-Mooring-Session": "new"})
    assert served.plane.calls == [SessionCall("7", step=2), SessionCall("", new=True)]


@pytest.mark.parametrize(
    ("parameters", "told", "cause"),
    [
        ({"sequence_id": 7}, {"X-Mooring-Session": "8"}, "bad-session"),
        ({"sequence_id": 7}, {"X-Mooring-Session": "new"}, "bad-session"),
        ({"sequence_id": 7}, {"Cookie": "mooring-session=8"}, "bad-session"),
        ({}, {"X-Mooring-Session": "7", "Cookie": "mooring-session=8"}, "bad-session"),
        ({"sequence_id": 7, "sequence_step": 1}, {"X-Mooring-Step": "2"}, "bad-step"),
        ({"sequence_start": True}, {}, "bad-session"),
        ({}, {"X-Mooring-Step": "2"}, "bad-session"),
        ({}, {"X-Mooring-Session": "a, a"}, "bad-session"),
        ({}, {"Cookie": "mooring-session=%ff"}, "bad-session"),
        ({"sequence_id": -7}, {}, "bad-session"),
        ({"sequence_id": "new", "sequence_step": 2}, {}, "bad-step"),
    ],
)
def test_what_cannot_be_meant_is_refused_with_a_cause(
    parameters: dict[str, Any], told: dict[str, str | bytes], cause: str
) -> None:
    served = StatefulHttp()
    for body, more in ((infer(parameters), {}), binary(parameters)):
        document = error(served.ask(INFER, body, {**told, **more}))
        assert (document["cause"], document["applied"]) == (cause, "no")
    assert served.plane.asked == []


# --- bodies that are read quickly


def test_the_quick_ways_never_mix_sessions() -> None:
    served = StatefulHttp()
    calls: list[SessionCall | None] = []
    for number in range(6):
        session = f"s{number % 2}"
        served.ask(INFER, infer(), {"X-Mooring-Session": session})
        served.ask(INFER, infer({"sequence_id": session}))
        served.ask(INFER, orjson.dumps({"parameters": {"sequence_id": session}, "inputs": [X]}))
        for parameters, told in (({}, {"X-Mooring-Session": session}), ({"sequence_id": session}, {})):
            body, length = binary(parameters)
            served.ask(INFER, body, {**length, **told})
        calls += [SessionCall(session)] * 5
        served.ask(INFER, infer())
        calls.append(None)
    assert served.plane.calls == calls
    for request in served.plane.asked:
        [tensor] = request.inputs
        assert (tensor.name, tensor.datatype, tensor.array.tolist()) == ("in_FP32", "FP32", [[1.0, 2.0]])
        assert request.outputs in ((), ("out_FP32",))


def test_a_request_that_is_read_quickly_keeps_what_it_asks_for() -> None:
    served = StatefulHttp()
    for _ in range(2):
        text = orjson.dumps({"id": "9", "inputs": [BINARY_X], "outputs": [{"name": "out_FP32"}]})
        length = {"Inference-Header-Content-Length": str(len(text)), "X-Mooring-Session": "a"}
        reply = served.ask(INFER, text + RAW_X, dict(length))
        assert json.loads(b"".join(reply.body))["id"] == "9"
    first, second = served.plane.asked
    assert first[1:] == second[1:] == (("out_FP32",), "9", {}, 0, None, SessionCall("a"))
    assert first.inputs[0].array.tolist() == second.inputs[0].array.tolist()


def test_heads_that_are_the_same_are_read_once() -> None:
    served = StatefulHttp()
    for _ in range(3):
        served.ask(INFER, infer(), {"X-Mooring-Session": "a"})
        served.ask(INFER, infer(), {"X-Mooring-Session": "b"})
    assert [call and call.id for call in served.plane.calls] == ["a", "b"] * 3
    [first, second] = [head for head in served.line.shared.heads.values() if b"x-mooring-session" in head.headers]
    assert first.session
    assert second.session
    assert {first.session.call, second.session.call} == {SessionCall("a"), SessionCall("b")}
    for step in ("1", "2"):
        served.ask(INFER, infer(), {"X-Mooring-Session": "a", "X-Mooring-Step": step})
    kept = [head for head in served.line.shared.heads.values() if b"x-mooring-session" in head.headers]
    assert len(kept) == 2, "heads that never come again are kept"


def test_several_inputs_come_in_the_order_of_the_request() -> None:
    served = StatefulHttp(stateful_metadata(("FP32", "INT8")))
    other = {"name": "in_INT8", "shape": [1, 2], "datatype": "INT8", "data": [3, 4]}
    served.ask(INFER, orjson.dumps({"inputs": [other, X]}), {"X-Mooring-Session": "a"})
    assert [each.name for each in served.plane.asked[0].inputs] == ["in_INT8", "in_FP32"]


# --- models without state


@pytest.mark.parametrize("target", BODIES)
def test_a_model_without_state_refuses_what_is_a_step_and_ignores_the_cookie(target: str) -> None:
    served = Served()
    for _ in range(2):
        refused = served.ask("POST", target, BODIES[target], {b"X-Mooring-Session": b"a"})
        assert error(refused)["cause"] == "bad-session"
        assert "keeps no state" in error(refused)["error"]
        for cookie in (b"mooring-session=a", b"mooring-session=%ff, x"):
            taken = served.ask("POST", target, BODIES[target], {b"Cookie": cookie})
            if "classify" in target:
                assert "is no classifier" not in str(taken.body) or taken.status == 400
            else:
                assert taken.status == 200, taken
            assert not [name for name, _ in taken.headers if name.startswith((b"X-Mooring", b"Set-"))]


@pytest.mark.parametrize(
    "parameters", [{"sequence_id": 7}, {"sequence_id": "s"}, {"sequence_start": True}, {"sequence_step": 1}]
)
def test_a_model_without_state_refuses_parameters_of_sessions(parameters: dict[str, Any]) -> None:
    served = Served()
    for body, length in ((infer(parameters), {}), binary(parameters)):
        told = {name.encode(): str(value).encode() for name, value in length.items()}
        assert "MOORING_SESSION_PATH" in error(served.ask("POST", INFER, body, told))["error"]
    assert served.backend.runs == 0


def test_a_model_without_state_refuses_parameters_whose_head_was_seen_before() -> None:
    """Of such a head is known that it names no session, so that only the body is looked at."""
    line = Line(Served().app)
    for parameters in ({"sequence_id": 0}, {"sequence_id": 7}, {"sequence_id": 8}):
        line.send(http("POST", INFER, infer(parameters)))
    assert [reply.status for reply in line.replies] == [200, 400, 400]
    assert len(line.shared.heads) == 1


def test_a_model_without_state_takes_the_defaults_that_clients_send() -> None:
    parameters = {"sequence_id": 0, "sequence_start": False, "sequence_end": False}
    assert Served().ask("POST", INFER, infer(parameters)).status == 200
