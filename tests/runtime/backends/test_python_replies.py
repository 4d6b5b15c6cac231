"""What `predict` returns, held against what its class declares."""

from typing import Any

import numpy as np
import pytest

from mooring_runtime.backends.python.replies import arrays
from mooring_runtime.errors import InferenceFailed
from mooring_runtime.messages import DATATYPES, Array, ModelMetadata, TensorSpec

X = TensorSpec("x", "FP32", (-1,))


def described(*outputs: TensorSpec) -> ModelMetadata:
    return ModelMetadata("m", "1", "python", (X,), outputs)


def one(datatype: str, value: object, shape: tuple[int, ...] = (-1,)) -> Array:
    return arrays(described(TensorSpec("y", datatype, shape)), {"y": value}, ["y"], None)[0]


@pytest.mark.parametrize("name", [name for name in DATATYPES if name != "BYTES"])
def test_every_datatype_in_its_own_dtype(name: str) -> None:
    value = np.array([0, 1], DATATYPES[name].dtype)
    array = one(name, value)
    assert array.dtype == value.dtype
    assert array.tolist() == value.tolist()


@pytest.mark.parametrize("name", ["FP32", "BYTES"])
def test_what_the_model_writes_into_its_array_later_is_in_no_answer(name: str) -> None:
    buffer = np.array([1, 2]).astype(DATATYPES[name].dtype if name != "BYTES" else "S1")
    first = one(name, buffer)
    buffer[:] = buffer[::-1].copy()
    assert first.tolist() == one(name, buffer).tolist()[::-1]
    assert first.tolist() != one(name, buffer).tolist()


@pytest.mark.parametrize(
    "value",
    [
        np.array([b"a", "ä".encode()], dtype=object),
        np.array(["a", "ä"], dtype=object),
        np.array(["a", "ä"]),
        np.array([b"a", "ä".encode()]),
        np.array([b"a", "ä"], dtype=object),
    ],
)
def test_texts_of_every_kind_become_bytes(value: Array) -> None:
    assert one("BYTES", value).tolist() == [b"a", "ä".encode()]


def test_a_scalar_keeps_its_shape() -> None:
    assert one("FP32", np.float32(2), ()).shape == ()


def test_an_array_in_another_order_is_laid_in_rows() -> None:
    array = one("FP32", np.zeros((2, 3), np.float32).T, (3, 2))
    assert array.flags.c_contiguous
    assert array.shape == (3, 2)


def test_only_the_outputs_asked_for_are_needed_and_looked_at() -> None:
    metadata = described(TensorSpec("y", "FP32", (1,)), TensorSpec("z", "INT64", (1,)))
    given: dict[str, Any] = {"z": np.array([1], np.int64), "y": np.array([2], np.float32)}
    assert [array.dtype for array in arrays(metadata, given, ["y", "z"], None)] == [np.float32, np.int64]
    assert len(arrays(metadata, {"z": given["z"]}, ["z"], None)) == 1


@pytest.mark.parametrize(
    ("returned", "words"),
    [
        (None, r'predict gave nothing: it must return a dict of arrays, \{"y": \.\.\.\}'),
        ([1], r"predict gave a list: it must return a dict"),
        ({"z": 1}, r"predict gave 'z', which the model does not declare; its outputs are 'y'"),
        ({}, r"predict did not give 'y'; it gave nothing"),
        ({"y": [1.0]}, r"output 'y' as a list: it must be a numpy array, np\.array\(\.\.\., dtype=np\.float32\)"),
        ({"y": np.array([1.0])}, r"output 'y' as float64: it is declared as FP32; return y\.astype\(np\.float32\)"),
        ({"y": np.zeros((2, 2), np.float32)}, r"output 'y' in shape \[2, 2\]: it is declared as \[-1\]"),
    ],
)
def test_a_wrong_reply_says_what_to_write(returned: object, words: str) -> None:
    with pytest.raises(InferenceFailed, match=words):
        arrays(described(TensorSpec("y", "FP32", (-1,))), returned, ["y"], None)


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (np.array([1]), r"output 'y' as int64: it is declared as BYTES; return an array of bytes or str"),
        (np.array([b"a", 1], dtype=object), "element 1 of output 'y' as a int: it is declared as BYTES"),
    ],
)
def test_wrong_texts_say_what_to_write(value: Array, words: str) -> None:
    with pytest.raises(InferenceFailed, match=words):
        one("BYTES", value)


def test_samples_must_be_as_many_as_came_in() -> None:
    metadata = described(TensorSpec("y", "FP32", (-1,)))
    assert arrays(metadata, {"y": np.zeros(3, np.float32)}, ["y"], 3)[0].shape == (3,)
    with pytest.raises(InferenceFailed, match="gave 3 samples of output 'y' for 2 samples of input"):
        arrays(metadata, {"y": np.zeros(3, np.float32)}, ["y"], 2)
