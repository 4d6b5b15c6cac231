"""How clients of HTTP name sessions, and what they are told: by the routes of every protocol."""

import json
import re
import time
from datetime import datetime
from typing import Any

import numpy as np
import orjson
import pytest

from mooring_runtime.errors import InferenceFailed, QueueFull, RequestError
from mooring_runtime.errors.sessions import SessionConflict, SessionUnavailable
from mooring_runtime.frontends.http.messages import Reply
from mooring_runtime.frontends.http.sagemaker_sessions import meant, spelled
from mooring_runtime.messages import InferRequest, InferResponse, SessionCall, SessionInfo, Tensor
from tests.support.serving import Served
from tests.support.session_replicas import MODEL, answered, replicas
from tests.support.stateful_plane import INCARNATION, MINTED, StatefulHttp, echoed, stateful_metadata

X = {"name": "in_FP32", "shape": [1, 2], "datatype": "FP32", "data": [1.0, 2.0]}
BINARY_X = {"name": "in_FP32", "shape": [1, 2], "datatype": "FP32", "parameters": {"binary_data_size": 8}}
RAW_X = np.array([1, 2], np.float32).tobytes()
INFER = "/v2/models/echo/infer"

BODIES: dict[str, bytes] = {
    INFER: orjson.dumps({"inputs": [X]}),
    "/v2/models/echo/versions/1/infer": orjson.dumps({"inputs": [X], "id": "7"}),
    "/v2/models/echo/generate": b'{"in_FP32": [1, 2]}',
    "/v2/models/echo/generate_stream": b'{"in_FP32": [1, 2]}',
    "/v1/models/echo:predict": b'{"instances": [[1, 2]]}',
    "/v1/models/echo:classify": b'{"examples": [{"in_FP32": [1, 2]}]}',
    "/predictions/echo": b"[[1, 2]]",
    "/invocations": b'{"inputs": [[1, 2]]}',
}
"""A request by every route that infers."""


def infer(parameters: dict[str, Any] | None = None, **more: Any) -> bytes:
    return orjson.dumps({"inputs": [X], **({} if parameters is None else {"parameters": parameters}), **more})


def binary(parameters: dict[str, Any]) -> tuple[bytes, dict[str, str | bytes]]:
    text = orjson.dumps({"inputs": [BINARY_X], "parameters": {"binary_data_output": True, **parameters}})
    return text + RAW_X, {"Inference-Header-Content-Length": str(len(text))}


def headers(reply: Reply) -> dict[str, str]:
    assert len(dict(reply.headers)) == len(reply.headers), "a header is told twice"
    return {name.decode(): value.decode() for name, value in reply.headers}


def error(reply: Reply, status: int = 400) -> dict[str, Any]:
    assert reply.status == status, reply
    document: dict[str, Any] = json.loads(b"".join(reply.body))
    return document


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
    [first, second] = served.line.shared.heads.values()
    assert first.session
    assert second.session
    assert {first.session.call, second.session.call} == {SessionCall("a"), SessionCall("b")}


# --- answers


def test_answers_in_json_and_binary() -> None:
    served = StatefulHttp()
    told = {"sequence_id": "a", "sequence_step": 2, "sequence_incarnation": str(INCARNATION)}
    plain = served.ask(INFER, infer({"sequence_id": "a", "sequence_step": 2}))
    assert json.loads(b"".join(plain.body)) == {
        "model_name": "echo",
        "model_version": "1",
        "parameters": told,
        "outputs": [{"name": "out_FP32", "datatype": "FP32", "shape": [1, 2], "data": [1.0, 2.0]}],
    }
    body, length = binary({"sequence_id": "a", "sequence_step": 2})
    raw = served.ask(INFER, body, length)
    size = int(headers(raw)["Inference-Header-Content-Length"])
    whole = b"".join(raw.body)
    assert json.loads(whole[:size])["parameters"] == told
    assert whole[size:] == RAW_X
    assert headers(raw)["X-Mooring-Step"] == "2"


def test_a_stored_reply_and_a_step_that_is_not_on_disk_say_so() -> None:
    served = StatefulHttp()

    def answer(request: InferRequest) -> InferResponse:
        return echoed(served.plane.told, request)._replace(session=SessionInfo("a", 9, 1, repeat=True, durable=7))

    served.plane.answer = answer
    reply = served.ask(INFER, infer(), {"X-Mooring-Session": "a"})
    found = headers(reply)
    assert (found["X-Mooring-Repeat"], found["X-Mooring-Durable-Step"], found["X-Mooring-Step"]) == ("true", "7", "9")
    told = json.loads(b"".join(reply.body))["parameters"]
    assert (told["sequence_repeat"], told["sequence_durable_step"]) == (True, 7)


def test_an_answer_of_generate_tells_it_beside_the_outputs() -> None:
    reply = StatefulHttp().ask("/v2/models/echo/generate", b'{"in_FP32": [1, 2], "sequence_id": "a"}')
    document = json.loads(b"".join(reply.body))
    assert document["out_FP32"] == [1.0, 2.0]
    assert (document["sequence_id"], document["sequence_step"]) == ("a", 1)


# --- errors


@pytest.mark.parametrize("target", BODIES)
def test_errors_of_steps_are_for_programs_too(target: str) -> None:
    served = StatefulHttp()
    told: dict[str, str | bytes] = {"X-Mooring-Session": "a", "X-Mooring-Step": "7"}
    gap = SessionConflict("the next step of session 'a' is 5", session="a", step=7, expected=5)
    served.plane.answer = lambda request: gap
    assert error(served.ask(target, BODIES[target], told), 409) == {
        "error": "the next step of session 'a' is 5",
        "cause": "gap",
        "applied": "no",
        "session": "a",
        "step": 7,
        "expected": 5,
    }
    served.plane.answer = lambda request: SessionUnavailable("'a' is moving", "moving", session="a")
    busy = served.ask(target, BODIES[target], told)
    assert headers(busy)["Retry-After"] == "1"
    assert error(busy, 503)["cause"] == "moving"
    served.plane.answer = lambda request: InferenceFailed("the disk has a cold")
    assert error(served.ask(target, BODIES[target], told), 500) == {
        "error": "the disk has a cold",
        "cause": "backend",
        "applied": "unknown",
        "session": "a",
        "step": 7,
    }
    served.plane.refusal = QueueFull("full")
    assert error(served.ask(target, BODIES[target], told), 503) == {
        "error": "full",
        "cause": "queue_full",
        "applied": "no",
        "session": "a",
        "step": 7,
    }


@pytest.mark.parametrize("target", BODIES)
def test_a_body_that_is_wrong_is_no_step(target: str) -> None:
    served = StatefulHttp()
    for told in ({"X-Mooring-Session": "a"}, {}):
        document = error(served.ask(target, b'{"inputs": 7, "in_FP32": "x", "instances": 7}', dict(told)))
        assert (document["cause"], document["applied"]) == ("invalid", "no")
        assert document.get("session") == told.get("X-Mooring-Session")
    assert served.plane.asked == []


@pytest.mark.parametrize(
    ("target", "body"),
    [
        (INFER, infer({"sequence_id": "a"})),
        ("/v1/models/echo:predict", b'{"instances": [[1, 2]]}'),
        ("/v2/models/echo/generate", b'{"in_FP32": [1, 2]}'),
        ("/v2/models/echo/generate_stream", b'{"in_FP32": [1, 2]}'),
    ],
)
def test_an_answer_that_cannot_be_written_was_applied(
    target: str, body: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    served = StatefulHttp()
    broken = (Tensor("out_FP32", "FP32", np.array([[object()]])),)
    served.plane.answer = lambda request: echoed(served.plane.told, request)._replace(outputs=broken)
    document = error(served.ask(target, body, {"X-Mooring-Session": "a"}), 500)
    assert (document["applied"], document["session"]) == ("yes", "a")
    assert "cannot write the answer" in caplog.text


def test_a_failure_behind_the_first_event_is_told_in_an_event() -> None:
    served = StatefulHttp()
    replies: list[Reply] = []

    def infer_twice(name: str, version: str | None, decode: Any, reply: Any) -> None:
        request = decode(served.plane.told)
        reply(echoed(served.plane.told, request)._replace(final=False))
        reply(InferenceFailed("the rest is lost"))

    served.plane.infer = infer_twice  # type: ignore[method-assign]
    before = len(served.line.replies)
    with pytest.raises(ValueError, match="too many values"):
        served.ask("/v2/models/echo/generate_stream", b'{"in_FP32": [1, 2], "sequence_id": "a"}')
    replies = served.line.replies[before:]
    event = json.loads(b"".join(replies[-1].body).removeprefix(b"data: "))
    assert event == {"error": "the rest is lost", "cause": "backend", "applied": "unknown", "session": "a"}


def test_errors_without_a_session_are_as_they_were() -> None:
    served = StatefulHttp()
    served.plane.answer = lambda request: InferenceFailed("f")
    assert error(served.ask(INFER, infer()), 500) == {"error": "f"}
    stateless = Served()
    assert error(stateless.ask("POST", INFER, b"[]")) == {"error": "the body must be a JSON object"}


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


def test_a_model_without_state_takes_the_defaults_that_clients_send() -> None:
    parameters = {"sequence_id": 0, "sequence_start": False, "sequence_end": False}
    assert Served().ask("POST", INFER, infer(parameters)).status == 200


# --- the headers of other servers


def test_torchserves_sequences() -> None:
    served = StatefulHttp()
    target, body = "/predictions/echo", b"[[1, 2]]"
    reply = served.ask(target, body, {"ts_request_sequence_id": "a", "ts_request_sequence_start": "true"})
    assert headers(reply)["ts_request_sequence_id"] == "a"
    assert headers(reply)["X-Mooring-Session"] == "a"
    served.ask(target, body, {"ts_request_sequence_id": "a", "ts_request_sequence_end": "True"})
    begun = served.ask(target, body, {"ts_request_sequence_start": "true"})
    assert headers(begun)["ts_request_sequence_id"] == MINTED
    served.ask(target, body, {"ts_request_sequence_id": "a", "X-Mooring-Step": "4"})
    assert served.plane.calls == [
        SessionCall("a", start=True),
        SessionCall("a", end=True),
        SessionCall("", start=True, new=True),
        SessionCall("a", step=4),
    ]
    for told in (
        {"ts_request_sequence_id": "a", "X-Mooring-Session": "b"},
        {"ts_request_sequence_id": "a", "ts_request_sequence_end": "maybe"},
        {"ts_request_sequence_end": "true"},
    ):
        assert error(served.ask(target, body, dict(told)))["cause"] == "bad-session"
    assert error(Served().ask("POST", target, body, {b"ts_request_sequence_id": b"7"}))["cause"] == "bad-session"


SAGEMAKER_ID = re.compile(r"[a-zA-Z0-9](-*[a-zA-Z0-9])*")
SAGEMAKER_NEW = re.compile(
    r"[a-zA-Z0-9](-*[a-zA-Z0-9])*;\sExpires=[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z"
)
"""What the platform takes as headers of sessions, by its API."""


@pytest.mark.parametrize(
    ("expires", "told"),
    [
        (None, "9999-12-31T23:59:59Z"),
        (1_700_000_000_999, "2023-11-14T22:13:20Z"),
        (10**18, "9999-12-31T23:59:59Z"),
    ],
)
def test_sagemakers_sessions(expires: int | None, told: str) -> None:
    served = StatefulHttp()

    def answer(request: InferRequest) -> InferResponse | RequestError:
        response = echoed(served.plane.told, request)
        assert response.session is not None
        return response._replace(session=response.session._replace(expires=expires))

    served.plane.answer = answer
    begun = headers(served.ask("/invocations", b"[[1, 2]]", {"X-Amzn-SageMaker-Session-Id": "NEW_SESSION"}))
    new = begun["X-Amzn-SageMaker-New-Session-Id"]
    assert SAGEMAKER_NEW.fullmatch(new)
    session, _, until = new.partition("; Expires=")
    assert until == told
    gone_on = headers(served.ask("/invocations", b"[[1, 2]]", {"X-Amzn-SageMaker-Session-Id": session}))
    assert not [name for name in gone_on if "SageMaker" in name]
    assert gone_on["X-Mooring-Session"] == MINTED
    ended = headers(
        served.ask(
            "/invocations", b"[[1, 2]]", {"X-Amzn-SageMaker-Session-Id": session, "X-Mooring-Session-End": "true"}
        )
    )
    assert ended["X-Amzn-SageMaker-Closed-Session-Id"] == session
    new_call, same = SessionCall("", new=True), SessionCall(MINTED)
    assert served.plane.calls == [new_call, same, same._replace(end=True)]


def test_ids_as_sagemaker_takes_them() -> None:
    assert SAGEMAKER_ID.fullmatch(spelled(MINTED).decode())
    for session in (MINTED, "17." + "a" * 26, "chosen", "a-b", "0-abc", "a.b"):
        assert meant(spelled(session).decode()) == session


def test_sagemaker_in_tritons_binary_form_keeps_the_session() -> None:
    served = StatefulHttp()
    text = orjson.dumps({"inputs": [BINARY_X], "parameters": {"binary_data_output": True, "sequence_end": True}})
    kind = b"application/vnd.sagemaker-triton.binary+json;json-header-size="
    told: dict[str, str | bytes] = {"Content-Type": kind + b"%d" % len(text), "X-Amzn-SageMaker-Session-Id": "a"}
    reply = served.ask("/invocations", text + RAW_X, told)
    assert reply.content_type.startswith(kind)
    assert headers(reply)["X-Amzn-SageMaker-Closed-Session-Id"] == "a"
    assert "Inference-Header-Content-Length" not in headers(reply)
    assert served.plane.calls == [SessionCall("a", end=True)]


async def test_sagemaker_opens_and_closes_sessions_without_a_step() -> None:
    with replicas(2) as service:

        async def invoke(session: str, wish: object, at: int = 0) -> Reply:
            told = {b"X-Amzn-SageMaker-Session-Id": session.encode(), b"X-Amzn-SageMaker-Target-Model": MODEL.encode()}
            return await answered(service[at].app, "POST", "/invocations", orjson.dumps(wish), told)

        opened = await invoke("NEW_SESSION", {"requestType": "NEW_SESSION"})
        assert opened.status == 200, opened
        session, _, until = headers(opened)["X-Amzn-SageMaker-New-Session-Id"].partition("; Expires=")
        assert SAGEMAKER_NEW.fullmatch(f"{session}; Expires={until}")
        left = datetime.fromisoformat(until).timestamp() - time.time()
        assert 0 < left <= service.limits.ttl / 1000
        assert headers(opened)["X-Mooring-Step"] == "0"
        # Whatever replica the platform asks: the one that has it closes it.
        closed = await invoke(session, {"requestType": "CLOSE"}, at=1)
        assert closed.status == 200, closed
        assert headers(closed)["X-Amzn-SageMaker-Closed-Session-Id"] == session
        assert headers(closed)["X-Mooring-Session"] == meant(session)
        [key] = [entry.key for entry in service[0].table]
        assert key.session == meant(session)
        assert error(await invoke("1-" + "a" * 26, {"requestType": "CLOSE"}), 404)["cause"] == "unknown"
        for told, wish in (
            ("NEW_SESSION", "CLOSE"),
            (session, "NEW_SESSION"),
            ("NEW_SESSION", "PAUSE"),
            ("NEW_SESSION", 7),
        ):
            assert error(await invoke(told, {"requestType": wish}))["cause"] == "bad-session"


def test_a_body_that_only_looks_like_a_wish_is_a_step() -> None:
    served = StatefulHttp()
    told: dict[str, str | bytes] = {"X-Amzn-SageMaker-Session-Id": "a"}
    for body in (b'{"requestType": "CLOSE", "in_FP32": [1, 2]}', b'["requestType"]', b'{"requestType"'):
        assert error(served.ask("/invocations", body, told))["applied"] == "no"
    assert error(served.ask("/invocations", b'{"requestType": "CLOSE"}'))["cause"] == "invalid"


def test_several_inputs_come_in_the_order_of_the_request() -> None:
    served = StatefulHttp(stateful_metadata(("FP32", "INT8")))
    other = {"name": "in_INT8", "shape": [1, 2], "datatype": "INT8", "data": [3, 4]}
    served.ask(INFER, orjson.dumps({"inputs": [other, X]}), {"X-Mooring-Session": "a"})
    assert [each.name for each in served.plane.asked[0].inputs] == ["in_INT8", "in_FP32"]
