import numpy as np
import pytest

from mooring_runtime.messages import DATATYPES, FROM_ONNX, ModelMetadata, TensorSpec
from tests.support.models import ONNX_TYPES


def test_the_table_has_every_datatype_of_v2() -> None:
    assert set(DATATYPES) == set(ONNX_TYPES)
    assert set(FROM_ONNX) == {row.onnx for row in DATATYPES.values()}


@pytest.mark.parametrize(
    ("name", "size"), [("BOOL", 1), ("INT8", 1), ("FP16", 2), ("BF16", 2), ("FP32", 4), ("UINT64", 8), ("BYTES", 4)]
)
def test_item_sizes(name: str, size: int) -> None:
    assert DATATYPES[name].itemsize == size


def test_arrays_are_little_endian() -> None:
    assert all(row.dtype.newbyteorder("<") == row.dtype for row in DATATYPES.values() if row.name != "BYTES")
    assert DATATYPES["BF16"].dtype == np.uint16


@pytest.mark.parametrize(
    ("shape", "taken", "refused"),
    [
        ((-1, 4), [(1, 4), (0, 4), (9, 4)], [(4,), (1, 3), (1, 4, 1), ()]),
        ((2,), [(2,)], [(1,), (3,), (2, 1)]),
        ((), [(), (3,), (1, 2)], []),  # A scalar, or of unknown rank: not told apart.
    ],
)
def test_shapes(shape: tuple[int, ...], taken: list[tuple[int, ...]], refused: list[tuple[int, ...]]) -> None:
    spec = TensorSpec("x", "FP32", shape)
    assert [each for each in taken + refused if spec.takes(each)] == taken


def test_metadata_knows_batches_and_what_json_cannot_carry() -> None:
    free, fixed = TensorSpec("x", "FP32", (-1, 2)), TensorSpec("y", "FP16", (3,))
    assert ModelMetadata("m", "1", "p", (free,), (free,)).batched
    assert not ModelMetadata("m", "1", "p", (free,), (fixed,)).batched
    assert ModelMetadata("m", "1", "p", (free,), (free, fixed)).binary_only == ["y"]
