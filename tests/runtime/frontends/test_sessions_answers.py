"""What clients of HTTP are told of sessions: by the routes of every protocol."""

import json
from typing import Any

import numpy as np
import pytest

from mooring_runtime.errors import InferenceFailed, QueueFull
from mooring_runtime.errors.sessions import SessionConflict, SessionUnavailable
from mooring_runtime.frontends.http.messages import Reply, Request, Respond
from mooring_runtime.frontends.http.parser import Limits
from mooring_runtime.messages import InferRequest, InferResponse, SessionInfo, Tensor
from tests.support.serving import Line, Served, http
from tests.support.session_requests import BODIES, INFER, RAW_X, binary, error, headers, infer
from tests.support.stateful_plane import INCARNATION, StatefulHttp, echoed

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


def test_what_never_reached_a_model_was_not_applied_and_a_fault_may_have_been() -> None:
    named = {b"X-Mooring-Session": b"a"}
    too_large = Line(StatefulHttp().app, Limits(body_bytes=10))
    too_large.send(http("POST", INFER, infer(), named))
    assert error(too_large.replies[0], 413)["applied"] == "no"
    assert error(StatefulHttp().ask("/v2/models", b"", {"X-Mooring-Session": "a"}), 405)["applied"] == "no"

    def faulty(request: Request, respond: Respond) -> None:
        raise ZeroDivisionError("a bug")

    for headers_, told in ((named, {"cause": "backend", "applied": "unknown", "session": "a"}), ({}, {})):
        line = Line(faulty)
        line.send(http("POST", INFER, infer(), headers_))
        assert error(line.replies[0], 500) == {"error": "a fault of the server: ZeroDivisionError: a bug", **told}
