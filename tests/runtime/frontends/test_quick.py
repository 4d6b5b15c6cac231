import orjson
import pytest

from mooring_runtime.frontends.http import quick
from mooring_runtime.messages import Fitted, ModelMetadata
from tests.support.serving import echo_metadata


@pytest.mark.parametrize("shape", [["abc", 4_000_000_000], [[1], 2], [None], [1.0, 2], [-1, -2], "12", {"a": 1}])
def test_the_quick_way_leaves_odd_shapes_to_the_careful_one(shape: object) -> None:
    metadata = echo_metadata(shape=(-1, -1))
    item = {"name": "in_FP32", "datatype": "FP32", "shape": shape, "data": [1.0, 2.0]}
    assert found({"inputs": [{**item, "shape": [1, 2]}]}, metadata)[0] is not None
    assert found({"inputs": [item]}, metadata) == (None, None)
    assert quick.quick_input(metadata, item) is None


def found(document: object, metadata: ModelMetadata) -> tuple[Fitted | None, Fitted | None]:
    """What the quick way finds in a document, and what it then finds in the same text again."""
    text = orjson.dumps(document)
    return quick.quick_request(metadata, document, text), quick.repeated_request(metadata, text)


ITEM = {"name": "in_FP32", "shape": [1, 2], "datatype": "FP32", "data": [1.0, 2.0]}


def test_of_a_text_that_is_repeated_only_the_elements_are_read() -> None:
    metadata = echo_metadata()
    first, again = found({"inputs": [ITEM]}, metadata)
    assert first is not None
    assert again is not None
    assert again.feeds["in_FP32"].tolist() == first.feeds["in_FP32"].tolist() == [[1.0, 2.0]]
    assert again[1:] == first[1:]
    other = quick.repeated_request(metadata, orjson.dumps({"inputs": [{**ITEM, "data": [[3, 4.5]]}]}))
    assert other is not None
    assert other.feeds["in_FP32"].tolist() == [[3.0, 4.5]]


@pytest.mark.parametrize(
    "data", ["[1,2,3]", "[1]", "[true,1]", '["1",2]', "{}", "[]", "1", '[1,2],"x":[1]', "[1e39,1]"]
)
def test_what_is_wrong_in_a_repeated_text_is_left_to_the_careful_way(data: str) -> None:
    metadata = echo_metadata()
    text = orjson.dumps({"inputs": [ITEM]})
    assert quick.quick_request(metadata, orjson.loads(text), text) is not None
    assert quick.repeated_request(metadata, text.replace(b"[1.0,2.0]", data.encode())) is None
    assert quick.repeated_request(metadata, text[:-1]) is None
    assert quick.repeated_request(metadata, text + b" ") is None


@pytest.mark.parametrize(
    "document",
    [
        {"inputs": [ITEM], "outputs": []},
        {"inputs": [ITEM], "parameters": {}},
        {"inputs": [ITEM, ITEM]},
        {"inputs": [{**ITEM, "parameters": {}}]},
        {"inputs": [{**ITEM, "name": "other"}]},
        {"inputs": [{**ITEM, "datatype": "FP64"}]},
        {"inputs": [{**ITEM, "shape": [1, 3], "data": [1, 2, 3]}]},
        {"inputs": [ITEM], "id": 7},
    ],
)
def test_only_a_plain_request_is_read_quickly(document: object) -> None:
    assert found(document, echo_metadata()) == (None, None)


def test_an_id_does_not_slow_a_request_down() -> None:
    first, again = found({"id": "a", "inputs": [ITEM]}, echo_metadata())
    assert first is not None
    assert first.id == "a"
    assert again is None
