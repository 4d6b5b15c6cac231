import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from mooring_runtime.errors import InvalidRequest
from mooring_runtime.frontends.http import tensors
from mooring_runtime.messages import DATATYPES, Array

JSON_NAMES = [name for name, row in DATATYPES.items() if row.json]
SHAPES = hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=3)


@st.composite
def arrays(draw: st.DrawFn, names: list[str]) -> tuple[str, Array]:
    """A datatype and an array of it; NaN only in its usual form, as JSON knows but one."""
    name = draw(st.sampled_from(names))
    shape = draw(SHAPES)
    if name == "BYTES":
        elements = draw(st.lists(st.text(max_size=5), min_size=int(np.prod(shape)), max_size=int(np.prod(shape))))
        array: Array = np.empty(len(elements), dtype=object)
        array[:] = [text.encode() for text in elements]
        return name, array.reshape(shape)
    dtype = DATATYPES[name].dtype
    found = draw(hnp.arrays(dtype, shape, elements=hnp.from_dtype(dtype, allow_nan=False)))
    if dtype.kind == "f" and found.size and draw(st.booleans()):
        found = found.copy()
        found.flat[0] = np.nan
    return name, found


def as_json(array: Array) -> Any:
    nested: Any = array.tolist()
    return json.loads(json.dumps(nested, default=lambda element: element.decode()))


@settings(deadline=None, max_examples=60)
@given(pair=arrays(JSON_NAMES), flat=st.booleans())
def test_json_and_binary_give_the_same_bits(pair: tuple[str, Array], flat: bool) -> None:
    name, array = pair
    datatype = DATATYPES[name]
    data = as_json(array.ravel() if flat or array.ndim == 0 else array)
    by_json = tensors.from_json("x", data, datatype, array.shape)
    raw = bytes(tensors.to_bytes(name, array))
    by_bytes = tensors.from_bytes("x", memoryview(raw), datatype, array.shape)
    assert by_json.shape == by_bytes.shape == array.shape
    assert by_json.dtype == by_bytes.dtype == datatype.dtype
    assert bytes(tensors.to_bytes(name, by_json)) == bytes(tensors.to_bytes(name, by_bytes)) == raw


@settings(deadline=None, max_examples=60)
@given(pair=arrays(JSON_NAMES))
def test_what_json_says_is_read_back_with_the_same_bits(pair: tuple[str, Array]) -> None:
    name, array = pair
    text = b'{"data":%b}' % tensors.to_json("x", name, array)
    again = tensors.from_json("x", tensors.parse_json(text)["data"], DATATYPES[name], array.shape)
    assert bytes(tensors.to_bytes(name, again)) == bytes(tensors.to_bytes(name, array))


@settings(deadline=None, max_examples=50)
@given(pair=arrays(list(DATATYPES)), before=st.integers(0, 9))
def test_bytes_may_begin_anywhere(pair: tuple[str, Array], before: int) -> None:
    name, array = pair
    raw = bytes(tensors.to_bytes(name, array))
    view = memoryview(b"j" * before + raw)[before:]
    found = tensors.from_bytes("x", view, DATATYPES[name], array.shape)
    assert found.flags.aligned
    assert bytes(tensors.to_bytes(name, found)) == raw


def test_large_outputs_are_not_copied() -> None:
    array = np.arange(100_000, dtype=np.float32)
    part = tensors.to_bytes("FP32", array)
    assert isinstance(part, memoryview)
    assert np.shares_memory(np.frombuffer(part, np.float32), array)


def test_arrays_in_another_order_are_written_row_by_row() -> None:
    array = np.arange(6, dtype=np.float32).reshape(2, 3).T
    assert tensors.to_bytes("FP32", array) == np.ascontiguousarray(array).tobytes()
    assert tensors.to_json("x", "FP32", array) == b"[0.0,3.0,1.0,4.0,2.0,5.0]"


def test_what_is_not_finite_is_written_as_triton_does() -> None:
    array = np.array([np.nan, np.inf, -np.inf, 0.1], np.float32)
    text = tensors.dump_json({"d": array, "null": "null"})
    assert text == b'{"d":[NaN,Infinity,-Infinity,0.10000000149011612],"null":"null"}'
    assert np.array(json.loads(text)["d"], np.float32).tobytes() == array.tobytes()


def test_json_numbers_are_short() -> None:
    assert tensors.dump_json({"d": np.array([0.1], np.float32)}) == b'{"d":[0.1]}'


@pytest.mark.parametrize(
    ("name", "shape", "data", "words"),
    [
        ("FP32", (2,), [1], r"x has 1 elements in data, but its shape \[2\] has 2"),
        ("FP32", (2, 2), [[1, 2, 3], [4]], "x has data whose lists differ in length or depth"),
        ("FP32", (2, 2), [[1, 2], 3, 4], "x has data whose lists differ in length or depth"),
        ("FP32", (2,), [1, [2]], "x is FP32, but data holds lists"),
        ("FP32", (1,), ["1"], "x is FP32, but data holds strings"),
        ("FP32", (1,), [True], "x is FP32, but data holds true or false"),
        ("FP32", (2,), [None, {}], "x is FP32, but data holds null or objects"),
        ("FP32", (1,), [1e39], "x is FP32, but data holds a number that is too large for it"),
        ("FP32", (1,), {}, "x has data that is no list"),
        ("FP32", (1,), 1, "x has data that is no list"),
        ("FP32", (1,), [10**400], "x is FP32, but data holds a number that is too large for it"),
        ("FP64", (1,), [10**400], "x is FP64, but data holds a number that is too large for it"),
        ("INT32", (1,), [1.0], "x is INT32, but data holds fractions"),
        ("INT32", (2,), [True, 1], "x is INT32, but data holds true or false"),
        ("INT8", (1,), [128], "x is INT8, but data holds a number that is too large for it"),
        ("UINT8", (1,), [-1], "x is UINT8, but data holds a number that is too large for it"),
        ("INT64", (1,), [2**63], "x is INT64, but data holds a number that is too large for it"),
        ("BOOL", (1,), [1], "x is BOOL, but data holds whole numbers"),
        ("BYTES", (1,), [1], "x is BYTES, but data holds whole numbers"),
        ("FP16", (1,), [1.0], "x is FP16, which JSON cannot carry; send it as binary data"),
        ("BF16", (1,), [1], "x is BF16, which JSON cannot carry; send it as binary data"),
    ],
)
def test_wrong_json_is_refused(name: str, shape: tuple[int, ...], data: object, words: str) -> None:
    with pytest.raises(InvalidRequest, match=words):
        tensors.from_json("x", data, DATATYPES[name], shape)


@pytest.mark.parametrize(
    ("name", "shape", "raw", "words"),
    [
        ("FP32", (2,), b"x" * 7, r"x has 7 bytes of binary data, but its shape \[2\] and datatype FP32 take 8"),
        ("BOOL", (2,), b"\1\2", "x is BOOL, but its binary data holds bytes other than 0 and 1"),
        ("BYTES", (2,), b"\0" * 7, "x has 7 bytes of binary data, too few for 2 elements of BYTES"),
        ("BYTES", (10**9,), b"\0" * 8, "too few for 1000000000 elements"),
        ("BYTES", (1,), b"\xff\xff\xff\xffab", "x: the binary data ends within element 0"),
        ("BYTES", (1,), b"\1\0\0\0ab", "x: 1 bytes of binary data are left over after 1 elements"),
        ("BYTES", (0,), b"a", "x: 1 bytes of binary data are left over after 0 elements"),
    ],
)
def test_wrong_bytes_are_refused(name: str, shape: tuple[int, ...], raw: bytes, words: str) -> None:
    with pytest.raises(InvalidRequest, match=words):
        tensors.from_bytes("x", memoryview(raw), DATATYPES[name], shape)


@pytest.mark.parametrize(
    "shape", [None, 3, "3", [1.0], [True], [-1], ["1"], [2**31], [1] * 33, [2**30, 2**30], [0, 2**30, 2**30]]
)
def test_wrong_shapes_are_refused(shape: object) -> None:
    with pytest.raises(InvalidRequest, match="x has shape"):
        tensors.shape_of("x", shape)


@pytest.mark.parametrize(
    "shape", [[2**31 - 1] * 100_000, ["x" * 10_000], [[1] * 10_000], "x" * 10_000, [10**4000], {"x" * 10_000: 1}]
)
def test_a_shape_is_refused_in_few_words(shape: object) -> None:
    """And at once: the product of all sizes of the first would take minutes."""
    with pytest.raises(InvalidRequest, match="x has shape") as caught:
        tensors.shape_of("x", shape)
    assert len(str(caught.value)) < 250


def test_bytes_that_are_no_text_cannot_be_json() -> None:
    array: Array = np.array([b"\xff"], dtype=object)
    with pytest.raises(InvalidRequest, match="output 'x' holds bytes that are not UTF-8"):
        tensors.to_json("x", "BYTES", array)


@pytest.mark.parametrize(
    "text", [b"", b"{", b'{"a":NaN', b"[" * 100_000, b'"\xff"', b"NaN" + b"[" * 100_000, b'[NaN, "\\ud800"]']
)
def test_what_is_no_json(text: bytes) -> None:
    with pytest.raises(InvalidRequest, match="the body is not JSON: "):
        tensors.parse_json(text)
