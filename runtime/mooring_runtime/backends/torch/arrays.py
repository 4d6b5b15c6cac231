"""numpy arrays to tensors and back, and the datatypes of V2 beside torch's.

BF16 is carried as uint16, which numpy has in its place; torch sees the same bytes as bfloat16. BYTES it has not.
"""

import numpy as np
import torch

from mooring_runtime.messages import Array

DTYPES: dict[str, torch.dtype] = {
    "BOOL": torch.bool,
    "UINT8": torch.uint8,
    "UINT16": torch.uint16,
    "UINT32": torch.uint32,
    "UINT64": torch.uint64,
    "INT8": torch.int8,
    "INT16": torch.int16,
    "INT32": torch.int32,
    "INT64": torch.int64,
    "FP16": torch.float16,
    "BF16": torch.bfloat16,
    "FP32": torch.float32,
    "FP64": torch.float64,
}
"""By V2 name: every datatype but BYTES."""

DATATYPES: dict[torch.dtype, str] = {dtype: name for name, dtype in DTYPES.items()}
"""By torch's dtype; complex, float8 and quantized ones have no V2 name."""


def to_tensor(array: Array, datatype: str) -> torch.Tensor:
    """A tensor over the array's memory, or over a copy where the array must not be written to.

    Models may write into their inputs, and torch cannot mark a tensor as read-only.
    """
    mine = array if array.flags.writeable and array.flags.c_contiguous else np.array(array, order="C")
    tensor = torch.from_numpy(mine)
    return tensor.view(torch.bfloat16) if datatype == "BF16" else tensor


def to_array(tensor: torch.Tensor) -> Array:
    """An array over the memory of a tensor on the CPU, in rows."""
    dense = tensor.resolve_conj().resolve_neg().contiguous()
    if dense.dtype is torch.bfloat16:
        dense = dense.view(torch.uint16)
    array: Array = dense.numpy()
    return array
