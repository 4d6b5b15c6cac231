import json
import tracemalloc
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from mooring_runtime.errors import InvalidRequest
from mooring_runtime.frontends.http import values
from mooring_runtime.frontends.http.tensors import dump_json, parse_json
from mooring_runtime.messages import DATATYPES, Array, Tensor, TensorSpec

NUMBERS = [name for name in DATATYPES if name not in {"BYTES", "BF16"}]


def array_of(datatype: str, value: Any, shape: tuple[int, ...] = ()) -> Array:
    tensor = values.to_tensor(TensorSpec("x", datatype, shape), value, values.under("instances"))
    assert (tensor.name, tensor.datatype) == ("x", datatype)
    assert tensor.array.dtype == DATATYPES[datatype].dtype
    return tensor.array


def written(datatype: str, array: Array) -> Any:
    return parse_json(dump_json({"v": values.from_tensor(Tensor("x", datatype, array))}))["v"]


@pytest.mark.parametrize("datatype", NUMBERS)
@given(data=st.data())
def test_numbers_come_back_bit_by_bit(datatype: str, data: st.DataObject) -> None:
    dtype = DATATYPES[datatype].dtype
    shape = data.draw(arrays.array_shapes(min_dims=0, max_dims=3, min_side=1, max_side=4))
    array = data.draw(arrays.arrays(dtype, shape, elements={"allow_nan": False} if dtype.kind == "f" else None))
    found = array_of(datatype, written(datatype, array))
    assert found.shape == array.shape
    assert found.tobytes() == np.asarray(array, dtype).tobytes() or not (array != found).any()  # -0.0 may be 0


@given(st.lists(st.one_of(st.binary(), st.text().map(str.encode)), min_size=1))
def test_bytes_come_back(elements: list[bytes]) -> None:
    array = np.empty(len(elements), dtype=object)
    array[:] = elements
    assert array_of("BYTES", written("BYTES", array)).tolist() == elements


def test_bytes_as_text_and_base64() -> None:
    assert array_of("BYTES", [["a", {"b64": "/w=="}], ["ä", ""]]).tolist() == [[b"a", b"\xff"], ["ä".encode(), b""]]
    assert array_of("BYTES", {"b64": "YQ=="}).tolist() == b"a"
    array = np.array([[b"a", b"\xff"]], dtype=object)
    assert written("BYTES", array) == [["a", {"b64": "/w=="}]]
    assert values.from_tensor(Tensor("x", "BYTES", array), as_base64=True) == [[{"b64": "YQ=="}, {"b64": "/w=="}]]


def test_bfloat16_is_rounded_to_the_nearest_even_one() -> None:
    array = array_of("BF16", [1.0, -2.5, 1.00390625, 1.01171875, 0.0])
    assert array.tolist() == [0x3F80, 0xC020, 0x3F80, 0x3F82, 0]
    assert written("BF16", array) == [1.0, -2.5, 1.0, 1.015625, 0.0]


def test_what_is_no_number_and_what_is_infinite() -> None:
    for datatype in ("FP16", "BF16", "FP32", "FP64"):
        array = array_of(datatype, parse_json(b"[NaN, Infinity, -Infinity]"))
        back = dump_json({"v": values.from_tensor(Tensor("x", datatype, array))})
        assert back == b'{"v":[NaN,Infinity,-Infinity]}'


def test_no_elements() -> None:
    assert array_of("FP32", [], (-1, 3)).shape == (0, 3)
    assert array_of("BYTES", [[], []], (-1, -1)).shape == (2, 0)
    assert written("FP32", np.empty((2, 0), np.float32)) == [[], []]


@pytest.mark.parametrize(
    ("datatype", "value", "words"),
    [
        ("FP32", [[1, 2], [3]], r"instances[1] has 1 elements, but instances[0] has 2: rows must be of one shape"),
        ("FP32", [[[1], [2]], [[3], [4, 5]]], "instances[1][1] has 2 elements, but instances[0][0] has 1"),
        ("FP32", [[1, 2], 3], "instances[1] is no list, but the first of its kind is one of 2 elements"),
        ("FP32", [1, [2]], "instances[1] is a list, but the first of its kind is none"),
        ("FP32", [[1, 2], [3, "x"]], 'instances[1][1] is "x", it must be a fraction or a whole number'),
        ("INT32", [1, 2.5], "instances[1] is 2.5, it must be a whole number"),
        ("INT32", [1, {"b64": "YQ=="}], "instances[1] is an object, it must be a whole number"),
        ("BOOL", [1], "instances[0] is 1, it must be true or false"),
        ("FP32", None, "instances is null, it must be a fraction or a whole number"),
        ("INT8", [200], "is INT8, but data holds a number that is too large"),
        ("FP16", [1e6], "instances is FP16, but holds a number that is too large for it"),
        ("FP32", [[1, 2], [3, 10**400]], "is FP32, but data holds a number that is too large"),
        ("BOOL", [[True], [10**400]], "instances[1][0] is 10000000"),
        ("BOOL", [[float("nan")]], "instances[0][0] is NaN, it must be true or false"),
        ("INT8", ["x" * 200], 'instances[0] is "xxx'),
        ("FP32", [[[1, 2], [3, 4]], [[5, 6], [7, None]]], "instances[1][1][1] is null"),
        ("BF16", [3.4028235e38], "instances is BF16, but holds a number that is too large for it"),
        ("BYTES", ["a", 1], 'instances[1] must be a string, or {"b64": ...}'),
        ("BYTES", ["a", {"b64": "?"}], 'instances[1]: the value of "b64" is not base64'),
        ("BYTES", ["a", {"b64": 1}], "instances[1] must be a string"),
        ("BYTES", [["a", "b"], ["c"]], "instances[1] has 1 elements, but instances[0] has 2"),
        ("BYTES", ["a", ["b"]], "instances[1] is a list, but the first of its kind is none"),
        (
            "BYTES",
            ["a", json.loads("[" * 900 + "]" * 900)],
            "instances[1] is a list, but the first of its kind is none",
        ),
        ("BYTES", [[["a"], ["b"]], [["c"], [{"b64": "?"}]]], 'instances[1][1][0]: the value of "b64" is not base64'),
        ("BYTES", [["a"], "b"], "instances[1] is no list"),
        ("FP32", json.loads("[" * 40 + "]" * 40), "instances has 40 levels of lists"),
    ],
)
def test_what_is_wrong_is_told_with_its_place(datatype: str, value: object, words: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        array_of(datatype, value)
    assert words in str(caught.value)
    assert len(str(caught.value)) < 250


def test_the_place_of_what_is_wrong_takes_no_memory_for_each_element() -> None:
    """Nor time: indexes for each of them took a hundred times the memory of the body."""
    value = [[0] * 8] * 12_500
    value[-1] = [*value[-1][:7], None]  # type: ignore[list-item]
    tracemalloc.start()
    try:
        with pytest.raises(InvalidRequest, match=r"instances\[12499\]\[7\] is null"):
            array_of("FP32", value)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 3 * 8 * 100_000
