"""V2's classification: an output as its largest elements, each `value:index` or `value:index:label`. Pure."""

import numpy as np

from mooring_runtime.errors import InvalidRequest
from mooring_runtime.frontends.shown import cut, shown
from mooring_runtime.messages import DATATYPES, Array, ModelMetadata, Tensor


def class_count(output: str, value: object) -> int:
    """The parameter `classification` of an output: how many classes are wanted, 0 for the tensor itself.

    Raises InvalidRequest for what is no whole number from 0.
    """
    if type(value) is not int or value < 0:
        raise InvalidRequest(
            f"output '{cut(output)}': parameter classification is {shown(value)}, it must be a whole number"
        )
    return value


def check(metadata: ModelMetadata, output: str) -> None:
    """Raise InvalidRequest for an output that has no order, before its model runs; an unknown name is not told here."""
    spec = metadata.outputs.get(output)
    if spec is not None and spec.datatype == "BYTES":
        raise InvalidRequest(f"output '{output}' is BYTES, which cannot be classified; take the tensor itself")


def classify(metadata: ModelMetadata, tensor: Tensor, count: int) -> Tensor:
    """The `count` largest elements of each sample of `tensor`, the largest first; of equals the first one first.

    BYTES of shape [samples, n] for a model that batches, else [n], where n is `count` or all elements that there are.
    Floats are written with six decimals, as every server of this protocol does.
    """
    array = _comparable(tensor)
    rows = array.reshape(array.shape[0], -1) if metadata.batched and array.ndim and array.size else array.reshape(1, -1)
    if metadata.batched and array.ndim and not array.size:
        rows = np.empty((array.shape[0], 0), array.dtype)
    labels = metadata.labels.get(tensor.name, ())
    found = [_best(row, count, labels) for row in rows]
    classes = np.empty((len(found), min(count, rows.shape[1])), dtype=object)
    for index, row in enumerate(found):
        classes[index] = row
    return Tensor(tensor.name, "BYTES", classes if metadata.batched else classes.reshape(-1))


def _comparable(tensor: Tensor) -> Array:
    """The elements in a type that numpy can order and negate without overflow."""
    array = tensor.array
    if tensor.datatype == "BF16":  # Kept as the upper two bytes of a float32.
        return (array.astype(np.uint32) << 16).view(np.float32)
    return array.astype(np.uint8) if DATATYPES[tensor.datatype].dtype.kind == "b" else array


def _best(row: Array, count: int, labels: tuple[str, ...]) -> list[bytes]:
    # Reversed twice, since sorting is stable upwards: of equal elements the first is to come first.
    floating = row.dtype.kind == "f"
    keys = np.where(np.isnan(row), -np.inf, row) if floating else row  # numpy orders NaN above everything.
    order = row.size - 1 - np.argsort(keys[::-1], kind="stable")[::-1][:count]
    texts = []
    for index in order.tolist():
        value = row[index].item()
        text = f"{value:f}:{index}" if floating else f"{value}:{index}"
        texts.append((f"{text}:{labels[index]}" if index < len(labels) else text).encode())
    return texts
