"""The datatypes of the V2 protocol beside numpy's and ONNX's names for them.

numpy has no bfloat16: a BF16 tensor is kept as uint16, the same two bytes an element. BYTES tensors are object arrays
of `bytes`, as V2 knows no text encoding.
"""

from typing import NamedTuple

import numpy as np


class Datatype(NamedTuple):
    """One row of the table."""

    name: str
    """V2's name, as in requests."""
    dtype: np.dtype
    """What arrays of it have, little-endian."""
    onnx: str
    """onnxruntime's name of a tensor of it."""
    json: frozenset[type]
    """Types of the elements of `data`, as a JSON parser gives them; empty: only ever sent as bytes (as Triton does)."""

    @property
    def itemsize(self) -> int:
        """Bytes of one element on the wire; of BYTES, the least that one can take: its length."""
        return 4 if self.name == "BYTES" else self.dtype.itemsize


_INTEGER = frozenset({int})
_REAL = frozenset({int, float})

DATATYPES: dict[str, Datatype] = {
    row.name: row
    for row in (
        Datatype("BOOL", np.dtype("?"), "tensor(bool)", frozenset({bool})),
        Datatype("UINT8", np.dtype("<u1"), "tensor(uint8)", _INTEGER),
        Datatype("UINT16", np.dtype("<u2"), "tensor(uint16)", _INTEGER),
        Datatype("UINT32", np.dtype("<u4"), "tensor(uint32)", _INTEGER),
        Datatype("UINT64", np.dtype("<u8"), "tensor(uint64)", _INTEGER),
        Datatype("INT8", np.dtype("<i1"), "tensor(int8)", _INTEGER),
        Datatype("INT16", np.dtype("<i2"), "tensor(int16)", _INTEGER),
        Datatype("INT32", np.dtype("<i4"), "tensor(int32)", _INTEGER),
        Datatype("INT64", np.dtype("<i8"), "tensor(int64)", _INTEGER),
        Datatype("FP16", np.dtype("<f2"), "tensor(float16)", frozenset()),
        Datatype("BF16", np.dtype("<u2"), "tensor(bfloat16)", frozenset()),
        Datatype("FP32", np.dtype("<f4"), "tensor(float)", _REAL),
        Datatype("FP64", np.dtype("<f8"), "tensor(double)", _REAL),
        Datatype("BYTES", np.dtype("O"), "tensor(string)", frozenset({str})),
    )
}
"""By V2 name."""

FROM_ONNX: dict[str, Datatype] = {row.onnx: row for row in DATATYPES.values()}
"""By onnxruntime's name; float8, complex and 4-bit types have no V2 name."""
