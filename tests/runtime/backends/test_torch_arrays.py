import numpy as np
import pytest
import torch

from mooring_runtime.backends.torch.arrays import DTYPES, to_array, to_tensor
from mooring_runtime.messages import DATATYPES


@pytest.mark.parametrize("name", list(DTYPES))
def test_every_datatype_keeps_its_bytes(name: str) -> None:
    array = np.array([[0, 1], [1, 100]]).astype(DATATYPES[name].dtype)
    tensor = to_tensor(array, name)
    assert tensor.dtype is DTYPES[name]
    back = to_array(tensor)
    assert (back.dtype, back.shape, back.tobytes()) == (array.dtype, array.shape, array.tobytes())


def test_every_datatype_but_bytes_has_a_dtype() -> None:
    assert set(DATATYPES) - set(DTYPES) == {"BYTES"}


def test_bfloat16_is_what_its_bits_say() -> None:
    assert to_tensor(np.array([0x3F80, 0xC000], np.uint16), "BF16").tolist() == [1, -2]


def test_an_array_that_must_not_be_written_is_copied_and_another_is_not() -> None:
    kept = np.frombuffer(np.zeros(2, np.float32).tobytes(), np.float32)
    to_tensor(kept, "FP32").add_(1)
    assert kept.tolist() == [0, 0]
    mine = np.zeros(2, np.float32)
    to_tensor(mine, "FP32").add_(1)
    assert mine.tolist() == [1, 1]


def test_a_tensor_in_another_order_is_laid_in_rows() -> None:
    array = to_array(torch.arange(6).reshape(2, 3).T)
    assert array.flags.c_contiguous
    assert array.tolist() == [[0, 3], [1, 4], [2, 5]]
