import json
from typing import Any

import orjson
import pytest

from mooring_runtime.errors import InferenceFailed
from mooring_runtime.frontends.http.messages import JSON, Reply
from mooring_runtime.messages import ModelMetadata, TensorSpec
from tests.support.serving import Inline, Served, echo_metadata
from tests.support.speaker import Speaker

TEXT = ModelMetadata(
    "chat",
    "1",
    "echo",
    (TensorSpec("in_text", "BYTES", (-1, 1)), TensorSpec("in_n", "INT32", (-1, 2))),
    (TensorSpec("out_text", "BYTES", (-1, 1)), TensorSpec("out_n", "INT32", (-1, 2))),
)


def body(reply: Reply, status: int = 200) -> Any:
    assert (reply.status, reply.content_type) == (status, JSON)
    return orjson.loads(b"".join(reply.body))


def generate(served: Served, document: object, call: str = "generate") -> Reply:
    return served.ask("POST", f"/v2/models/{served.model.name}/{call}", orjson.dumps(document))


def test_keys_are_inputs_and_outputs() -> None:
    document = body(generate(Served(TEXT), {"in_text": "hello", "in_n": [1, 2], "id": "7", "temperature": 0.5}))
    assert document == {"model_name": "chat", "model_version": "1", "id": "7", "out_text": "hello", "out_n": [1, 2]}


def test_inputs_may_stand_among_the_parameters() -> None:
    document = body(generate(Served(TEXT), {"in_text": "hello", "parameters": {"in_n": [[1, 2]], "stream": False}}))
    assert document["out_n"] == [1, 2]


def test_one_answer_of_a_stream_is_one_event() -> None:
    reply = generate(Served(TEXT), {"in_text": "hello", "in_n": [1, 2]}, "versions/1/generate_stream")
    assert reply.content_type == b"text/event-stream; charset=utf-8"
    [event] = reply.body
    assert event.startswith(b"data: {")  # type: ignore[union-attr]
    assert bytes(event).endswith(b"}\n\n")
    assert not reply.more


@pytest.mark.parametrize(
    ("shape", "value", "found"),
    [
        ((-1, 4), [1, 2, 3, 4], [1, 2, 3, 4]),
        ((-1, -1), [1, 2, 3], [1, 2, 3]),
        ((-1,), 5, 5),
        ((-1,), [5, 6], [5, 6]),
        ((-1, 2, 2), [[[1, 2], [3, 4]]], [1, 2, 3, 4]),
        ((2, 2), [1, 2, 3, 4], [1, 2, 3, 4]),
        ((-1, 1), 5, 5),
    ],
)
def test_a_flat_value_takes_the_shape_of_its_input(shape: tuple[int, ...], value: object, found: object) -> None:
    assert body(generate(Served(echo_metadata(("INT32",), shape)), {"in_INT32": value}))["out_INT32"] == found


@pytest.mark.parametrize(
    ("document", "words"),
    [
        ([], "the body must be a JSON object"),
        ({"id": 7}, "id is 7, it must be a string"),
        ({"parameters": 1}, "parameters must be a JSON object"),
        ({"in_text": "a", "in_n": [1, 2, 3]}, r"in_n has 3 elements, which do not fill its shape [-1, 2]"),
        ({"in_text": "a", "in_n": [1, "b"]}, 'in_n[1] is "b", it must be a whole number'),
        ({"in_text": "a"}, "input 'in_n' is missing"),
        ({"in_text": "a", "in_n": [1, 2], "other": [1]}, "parameter other is [1], it must be a string"),
        ({"in_text": "a", "in_n": [1, 2], "sequence_id": 3}, "session '3' cannot be used: model 'chat' keeps no state"),
    ],
)
@pytest.mark.parametrize("call", ["generate", "generate_stream"])
def test_what_is_wrong_is_told_in_json(document: object, words: str, call: str) -> None:
    assert words in body(generate(Served(TEXT), document, call), 400)["error"]


def test_a_model_that_fails_before_the_first_event_has_a_status() -> None:
    def fail() -> None:
        raise InferenceFailed("no words")

    served = Served(TEXT)
    served.backend.hook = fail
    for call in ("generate", "generate_stream"):
        assert body(generate(served, {"in_text": "a", "in_n": [1, 2]}, call), 500) == {"error": "no words"}


# --- models of many answers


def speaker(backend: Speaker | None = None) -> Served:
    return Served(backend=backend or Speaker(), times=Inline())  # Times of its own: on the real event loop.


async def spoken(served: Served, count: int, call: str = "generate_stream") -> list[Reply]:
    document = {"text_input": "hi", "count": count, "parameters": {"temperature": 0.5}}
    try:
        return await served.ask_later("POST", f"/v2/models/speaker/{call}", document)
    finally:
        served.model.close()


def events(replies: list[Reply]) -> list[Any]:
    text = b"".join(bytes(part) for reply in replies for part in reply.body).decode()
    return [json.loads(event.removeprefix("data: ")) for event in text.split("\n\n") if event]


async def test_each_answer_is_an_event() -> None:
    backend = Speaker()
    replies = await spoken(speaker(backend), 3)
    assert [reply.more for reply in replies] == [True, True, True, False]
    assert [event["text_output"] for event in events(replies)] == ["hi 0", "hi 1", "hi 2"]
    assert backend.parameters == {"temperature": 0.5}


async def test_a_failure_after_the_first_event_is_an_event() -> None:
    replies = await spoken(speaker(Speaker(fails=True)), 1)
    assert replies[0].status == 200
    assert [list(event) for event in events(replies)] == [["model_name", "model_version", "text_output"], ["error"]]
    assert events(replies)[1] == {"error": "lost its voice"}


async def test_no_answer_at_all_is_an_empty_stream() -> None:
    replies = await spoken(speaker(), 0)
    assert [(reply.status, reply.more) for reply in replies] == [(200, False)]
    assert events(replies) == []


async def test_generate_tells_exactly_one_answer() -> None:
    [reply] = await spoken(speaker(), 1, "generate")
    assert body(reply)["text_output"] == "hi 0"
    for count, found in ((0, "none"), (2, "several")):
        [reply] = await spoken(speaker(), count, "generate")
        assert f"model 'speaker' gave {found}; use generate_stream" in body(reply, 400)["error"]
