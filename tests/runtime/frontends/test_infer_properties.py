"""What goes in as JSON and as bytes comes out the same to the last bit, and so do the two forms of an answer."""

from typing import Any

import numpy as np
import orjson
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from mooring_runtime.frontends.http import quick, tensors
from mooring_runtime.messages import DATATYPES, Array
from tests.support.serving import Served, echo_metadata

NAMES = [name for name, row in DATATYPES.items() if row.json]


@st.composite
def given_arrays(draw: st.DrawFn) -> tuple[str, Array]:
    """A datatype and an array of it with up to 3 sizes, NaN, infinities and -0.0 among its elements."""
    name = draw(st.sampled_from(NAMES))
    shape = draw(arrays.array_shapes(min_dims=1, max_dims=3, min_side=0, max_side=4))
    if name == "BYTES":
        array: Array = np.empty(shape, dtype=object)
        for index in np.ndindex(shape):
            array[index] = draw(st.text(max_size=5)).encode()
        return name, array
    return name, draw(arrays.arrays(DATATYPES[name].dtype, shape))


def as_json(name: str, array: Array) -> bytes:
    return tensors.to_json("x", name, array)


def nested(text: bytes, shape: tuple[int, ...]) -> Any:
    """The elements in lists of lists."""
    data = tensors.parse_json(text)
    for size in reversed(shape[1:]):
        data = [data[begin : begin + size] for begin in range(0, len(data), size)] if size else data
    return data


def bits(name: str, array: Array) -> Any:
    """What tells arrays apart to the last bit; JSON has one NaN."""
    if name == "BYTES":
        return array.tolist()
    if array.dtype.kind == "f":
        array = np.where(np.isnan(array), np.array(np.nan, array.dtype), array)
    return array.tobytes()


def answered(name: str, reply_body: bytes, length: bytes | None) -> tuple[dict[str, Any], bytes]:
    cut = len(reply_body) if length is None else int(length)
    document: dict[str, Any] = tensors.parse_json(reply_body[:cut])
    return document, reply_body[cut:]


@settings(deadline=None)
@given(given_arrays(), st.booleans(), st.booleans())
def test_json_and_binary_are_the_same_in_both_directions(
    made: tuple[str, Array], binary_in: bool, binary_out: bool
) -> None:
    name, array = made
    served = Served(echo_metadata((name,), shape=(-1,) * array.ndim))
    item: dict[str, Any] = {"name": f"in_{name}", "shape": array.shape, "datatype": name}
    raw = bytes(tensors.to_bytes(name, array))
    if binary_in:
        item["parameters"] = {"binary_data_size": len(raw)}
        text = orjson.dumps({"inputs": [item], "parameters": {"binary_data_output": binary_out}})
        headers = {b"Inference-Header-Content-Length": b"%d" % len(text)}
        body = text + raw
    else:
        text = orjson.dumps({"inputs": [item], "parameters": {"binary_data_output": binary_out}})
        # Written by hand, for NaN and infinities are no JSON.
        body = text.replace(b'"datatype"', b'"data":%b,"datatype"' % as_json(name, array), 1)
        headers = {}
    reply = served.ask("POST", "/v2/models/echo/infer", body, headers)
    assert reply.status == 200, reply
    document, rest = answered(name, b"".join(reply.body), dict(reply.headers).get(b"Inference-Header-Content-Length"))
    [output] = document["outputs"]
    assert output["shape"] == list(array.shape)
    if binary_out:
        found = tensors.from_bytes("y", memoryview(rest), DATATYPES[name], array.shape)
    else:
        found = tensors.from_json("y", output["data"], DATATYPES[name], array.shape)
    assert bits(name, found) == bits(name, array)


@settings(deadline=None)
@given(given_arrays())
def test_nested_and_flat_lists_are_the_same(made: tuple[str, Array]) -> None:
    name, array = made
    text = as_json(name, array)
    flat, lists = tensors.parse_json(text), nested(text, array.shape)
    one = tensors.from_json("x", flat, DATATYPES[name], array.shape)
    if array.size:
        assert bits(name, tensors.from_json("x", lists, DATATYPES[name], array.shape)) == bits(name, one)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


@settings(deadline=None, max_examples=300)
@given(
    st.sampled_from(NAMES),
    st.one_of(st.lists(st.integers(0, 3), max_size=2), JSON),
    st.one_of(st.lists(st.floats() | st.integers(-300, 300), max_size=6), JSON),
)
def test_the_quick_way_takes_only_what_the_careful_one_takes_and_reads_the_same(
    name: str, shape: Any, data: Any
) -> None:
    item = {"name": f"in_{name}", "shape": shape, "datatype": name, "data": data}
    text = orjson.dumps(item, default=str) if not _huge(item) else b""
    if not text or quick.may_hold_booleans(text):
        return
    item = orjson.loads(text)
    found = quick.quick_input(echo_metadata((name,), shape=(-1, -1)), item)
    if found is None:
        return
    datatype = tensors.datatype_of("x", item["datatype"])
    expected = tensors.from_json("x", item["data"], datatype, tensors.shape_of("x", item["shape"]))
    assert found.array.shape == expected.shape
    assert found.array.dtype == expected.dtype
    assert bits(name, found.array) == bits(name, expected)


def _huge(item: Any) -> bool:
    """Whether orjson cannot write a number of it."""
    try:
        orjson.dumps(item)
    except TypeError:
        return True
    return False
