import numpy as np
import orjson
import pytest

from mooring_runtime.frontends.http import quick
from mooring_runtime.messages import DATATYPES, Array, Fitted, InferRequest, ModelMetadata, Tensor
from tests.support.serving import Apart, Served, echo_metadata


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


NUMBERS = ("FP32", "INT64", "FP16", "BF16", "UINT8", "FP64")


def binary_request(served: Served, arrays: dict[str, Array], **more: object) -> tuple[int, bytes]:
    """(status, the bytes of all outputs) of these inputs sent as bytes."""
    inputs = [
        {
            "name": f"in_{name}",
            "shape": array.shape,
            "datatype": name,
            "parameters": {"binary_data_size": array.nbytes},
        }
        for name, array in arrays.items()
    ]
    document = {"inputs": inputs, "parameters": {"binary_data_output": True}, **more}
    reply = served.infer(document, binary=b"".join(array.tobytes() for array in arrays.values()))
    return reply.status, b"".join(reply.body[1:])


@pytest.mark.parametrize("padding", range(8))
@pytest.mark.parametrize("names", [("FP32",), ("UINT8", "FP64"), NUMBERS])
def test_bytes_behind_json_that_is_repeated_are_read_anew(names: tuple[str, ...], padding: int) -> None:
    """Wherever the bytes begin: `padding` moves them."""
    served = Served(echo_metadata(names))
    random = np.random.default_rng(0)
    for _ in range(3):
        arrays = {name: random.integers(0, 100, (2, 2)).astype(DATATYPES[name].dtype) for name in names}
        status, raw = binary_request(served, arrays, x="x" * padding)
        assert status == 200
        assert raw == b"".join(array.tobytes() for array in arrays.values())
    assert any(isinstance(each, quick.Plan) for each in served.backend.metadata.memo.values())


def test_booleans_behind_json_that_is_repeated_are_looked_at_each_time() -> None:
    served = Served(echo_metadata(("BOOL",)))
    assert binary_request(served, {"BOOL": np.array([[True, False]])})[0] == 200
    assert binary_request(served, {"BOOL": np.array([[1, 2]], np.uint8)})[0] == 400


def test_a_body_of_another_size_has_no_plan() -> None:
    served = Served()
    array = np.array([[1.0, 2.0]], np.float32)
    assert binary_request(served, {"FP32": array})[0] == 200
    inputs = [{"name": "in_FP32", "shape": [1, 2], "datatype": "FP32", "parameters": {"binary_data_size": 8}}]
    document = {"inputs": inputs, "parameters": {"binary_data_output": True}}
    assert served.infer(document, binary=array.tobytes()[:-1]).status == 400
    assert served.infer(document, binary=array.tobytes() + b"x").status == 400
    assert served.infer(document, binary=array.tobytes()).status == 200


@pytest.mark.parametrize("parameters", [{"priority": 1}, {"timeout": 10**9}, {"mine": 1}])
def test_what_asks_for_more_has_no_plan(parameters: dict[str, object]) -> None:
    served = Served(times=Apart())
    text = orjson.dumps({"parameters": parameters})
    request = InferRequest(
        (Tensor("in_FP32", "FP32", np.zeros((1, 2), np.float32)),),
        parameters={"mine": 1} if "mine" in parameters else {},
        priority=1 if "priority" in parameters else 0,
        timeout=1.0 if "timeout" in parameters else None,
    )
    metadata = served.backend.metadata
    quick.keep_plan(metadata, text, len(text) + 8, request, (False, None))
    assert metadata.memo == {}
    quick.keep_plan(metadata, text, len(text) + 8, InferRequest(request.inputs), (False, None))
    plan = quick.plan_for(metadata, text, text + b"x" * 8)
    assert plan is not None
    assert plan.inputs[0][0] == "in_FP32"


def test_a_header_may_say_that_the_json_ends_where_a_known_beginning_does() -> None:
    served = Served()
    text = orjson.dumps({"inputs": [{key: ITEM[key] for key in ("name", "shape", "datatype", "data")}]})
    for _ in range(2):
        assert served.infer(orjson.loads(text)).status == 200
    start = text[: text.index(b'"data":') + 7]
    headers = {b"Inference-Header-Content-Length": b"%d" % len(start)}
    reply = served.ask("POST", "/v2/models/echo/infer", start + b"12345678", headers)
    assert (reply.status, b"the body is not JSON" in reply.body[0]) == (400, True)


def test_what_clients_choose_does_not_fill_the_memory() -> None:
    served = Served()
    array = np.array([[1.0, 2.0]], np.float32)
    for number in range(1500):
        assert binary_request(served, {"FP32": array}, x=number)[0] == 200
        assert found({"inputs": [{**ITEM, "x": number}]}, served.backend.metadata)[0] is None
    assert len(served.backend.metadata.memo) <= 1024
