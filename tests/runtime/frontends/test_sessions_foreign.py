"""The sessions of other servers: TorchServe's sequences, SageMaker's sessions."""

import re
import time
from datetime import datetime

import orjson
import pytest

from mooring_runtime.errors import RequestError
from mooring_runtime.frontends.http.messages import Reply
from mooring_runtime.frontends.http.sagemaker_sessions import meant, spelled
from mooring_runtime.messages import InferRequest, InferResponse, SessionCall
from tests.support.serving import Served
from tests.support.session_replicas import MODEL, answered, replicas
from tests.support.session_requests import BINARY_X, RAW_X, error, headers
from tests.support.stateful_plane import MINTED, StatefulHttp, echoed


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
