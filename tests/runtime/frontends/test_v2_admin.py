import asyncio
import base64
from typing import Any

import orjson
import pytest

from mooring_runtime.errors import MethodNotAllowed
from mooring_runtime.frontends.http.answers import Later
from mooring_runtime.frontends.http.messages import JSON, Reply
from tests.support.serving import Served


@pytest.fixture
def served() -> Served:
    return Served()


def body(reply: Reply, status: int = 200) -> Any:
    assert (reply.status, reply.content_type) == (status, JSON)
    return orjson.loads(b"".join(reply.body))


def post(served: Served, target: str, document: object = None) -> Reply:
    return served.ask("POST", target, b"" if document is None else orjson.dumps(document))


def test_statistics_and_configuration(served: Served) -> None:
    for target in ("/v2/models/stats", "/v2/models/echo/stats", "/v2/models/echo/versions/1/stats"):
        [row] = body(served.ask("GET", target))["model_stats"]
        assert (row["name"], row["version"]) == ("echo", "1")
    for target in ("/v2/models/echo/config", "/v2/models/echo/versions/1/config"):
        assert body(served.ask("GET", target))["name"] == "echo"
    for target in ("/v2/models/other/stats", "/v2/models/echo/versions/9/stats", "/v2/models/other/config"):
        assert "error" in body(served.ask("GET", target), 404)


def test_the_index_leaves_out_what_is_not_known(served: Served) -> None:
    ready = {"name": "echo", "version": "1", "state": "READY"}
    for asked in (None, {}, {"ready": False}, {"ready": True}):
        assert body(post(served, "/v2/repository/index", asked)) == [ready]
    assert "ready is 1" in body(post(served, "/v2/repository/index", {"ready": 1}), 400)["error"]


LOAD, UNLOAD = "/v2/repository/models/echo/load", "/v2/repository/models/echo/unload"


async def test_unload_and_load(served: Served) -> None:
    [reply] = await served.ask_later("POST", UNLOAD, {"parameters": {"unload_dependents": False}})
    assert body(reply) == {"name": "echo", "unload": True}
    [entry] = body(post(served, "/v2/repository/index"))
    assert entry["name"] == "echo"
    assert entry["state"] in {"UNLOADING", "UNAVAILABLE"}  # Its thread may still be at work.
    assert body(post(served, "/v2/repository/index", {"ready": True})) == []
    content = base64.b64encode(b"onnx").decode()
    parameters = {"config": '{"max_batch_size": 4}', "file:1/model.onnx": content}
    [reply] = await served.ask_later("POST", LOAD, {"parameters": parameters})
    assert body(reply) == {"name": "echo", "load": True}
    assert body(served.ask("GET", "/v2/models/echo/ready")) == {"name": "echo", "ready": True}


async def test_a_load_that_fails_says_why(served: Served) -> None:
    [reply] = await served.ask_later("POST", LOAD)
    assert "failed to load 'echo': /nowhere/model.onnx: there is no such file" in body(reply, 400)["error"]
    [reply] = await served.ask_later("POST", "/v2/repository/models/a%2Fb/load")
    assert "failed to load 'a/b': this server's repository has no model" in body(reply, 500)["error"]
    [reply] = await served.ask_later("POST", "/v2/repository/models/a%2Fb/unload")
    assert "unknown model 'a/b'" in body(reply, 404)["error"]


async def test_a_fault_of_ours_is_told_too() -> None:
    async def fail() -> Reply:
        raise AttributeError("no such thing")

    replies: asyncio.Queue[Reply] = asyncio.Queue()
    Later().answer(replies.put_nowait, fail())
    reply = await asyncio.wait_for(replies.get(), 1)
    assert body(reply, 500) == {"error": "a fault of the server: AttributeError: no such thing"}


async def test_an_error_that_cannot_be_written_is_answered_too() -> None:
    async def fail() -> Reply:
        raise MethodNotAllowed("no", "\udce9")  # No header can carry it.

    replies: asyncio.Queue[Reply] = asyncio.Queue()
    Later().answer(replies.put_nowait, fail())
    reply = await asyncio.wait_for(replies.get(), 1)
    assert body(reply, 500)["error"].startswith("a fault of the server: UnicodeEncodeError: ")


@pytest.mark.parametrize(
    ("call", "document", "words"),
    [
        ("load", [], "the body must be a JSON object"),
        ("load", {"parameters": []}, "parameters must be a JSON object"),
        ("load", {"parameters": {"config": {}}}, "parameter config must be a string"),
        ("load", {"parameters": {"other": 1}}, "there is no parameter other of load"),
        ("load", {"parameters": {"file:1/m.onnx": "YQ=="}}, "the parameter config is missing"),
        ("load", {"parameters": {"config": "{}", "file:1/m.onnx": "?"}}, "must be the file's content in base64"),
        ("load", {"parameters": {"config": "{}", "file:1/m.onnx": 1}}, "must be the file's content in base64"),
        ("unload", {"parameters": {"other": 1}}, "there is no parameter other of unload"),
        ("unload", {"parameters": {"unload_dependents": "yes"}}, "unload_dependents is 'yes', it must be true or"),
    ],
)
def test_what_is_wrong_with_a_load_is_told(served: Served, call: str, document: object, words: str) -> None:
    assert words in body(post(served, f"/v2/repository/models/echo/{call}", document), 400)["error"]
    assert body(post(served, "/v2/repository/index"))[0]["state"] == "READY"


@pytest.mark.parametrize("call", ["index", "models/echo/load", "models/echo/unload"])
def test_other_repositories_are_not_there(served: Served, call: str) -> None:
    error = body(post(served, f"/v2/repository/mine/{call}", {}), 501)["error"]
    assert error == "there is no repository 'mine': this server has one, which is named by nothing"


@pytest.mark.parametrize("memory", ["systemsharedmemory", "cudasharedmemory"])
def test_there_is_no_shared_memory(served: Served, memory: str) -> None:
    assert body(served.ask("GET", f"/v2/{memory}/status")) == []
    assert "no shared memory region 'r'" in body(served.ask("GET", f"/v2/{memory}/region/r/status"), 404)["error"]
    for call in ("region/r/register", "region/r/unregister", "unregister"):
        error = body(post(served, f"/v2/{memory}/{call}", {"key": "k", "offset": 0, "byte_size": 1}), 501)["error"]
        assert error == "this server has no shared memory; send tensors in the request"


def test_what_is_logged(served: Served) -> None:
    before = body(served.ask("GET", "/v2/logging"))
    assert before["log_verbose_level"] == 0
    assert body(post(served, "/v2/logging", {"log_verbose_level": 1}))["log_verbose_level"] == 1
    assert body(post(served, "/v2/logging", {"log_verbose_level": 0})) == before
    assert "log_info is 1" in body(post(served, "/v2/logging", {"log_info": 1}), 400)["error"]


def test_what_is_traced(served: Served) -> None:
    before = body(served.ask("GET", "/v2/trace/setting"))
    assert before["trace_level"] == ["OFF"]
    assert body(post(served, "/v2/models/echo/trace/setting", {"trace_rate": "5"}))["trace_rate"] == "5"
    assert body(served.ask("GET", "/v2/models/echo/trace/setting"))["trace_rate"] == "5"
    assert body(served.ask("GET", "/v2/trace/setting")) == before
    assert "unknown model 'other'" in body(served.ask("GET", "/v2/models/other/trace/setting"), 404)["error"]
    assert "trace_rate is" in body(post(served, "/v2/trace/setting", {"trace_rate": "x"}), 400)["error"]


@pytest.mark.parametrize(
    ("method", "target", "allowed"),
    [
        ("POST", "/v2/models/stats", b"GET, HEAD"),
        ("GET", "/v2/repository/index", b"POST"),
        ("DELETE", "/v2/logging", b"GET, POST, HEAD"),
        ("GET", "/v2/models/echo/generate", b"POST"),
    ],
)
def test_the_wrong_method_learns_the_right_ones(served: Served, method: str, target: str, allowed: bytes) -> None:
    reply = served.ask(method, target)
    assert body(reply, 405).keys() == {"error"}
    assert reply.headers == ((b"Allow", allowed),)
