"""Tensors of every datatype for clients to send."""

import numpy as np

from mooring_runtime.messages import DATATYPES, Array


def sample(name: str, shape: tuple[int, ...]) -> Array:
    """An array of the datatype in which not every element is the same; BYTES with empty and with other than ASCII."""
    count = int(np.prod(shape))
    if name == "BYTES":
        array: Array = np.empty(count, dtype=object)
        array[:] = [f"ä{index}".encode() * (index % 3) for index in range(count)]
        return array.reshape(shape)
    return (np.arange(count) % 2).astype(DATATYPES[name].dtype).reshape(shape)
