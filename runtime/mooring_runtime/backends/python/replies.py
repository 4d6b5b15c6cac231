"""Holds what `predict` returned against what its class declares; pure."""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from mooring_runtime.errors import InferenceFailed
from mooring_runtime.messages import DATATYPES, Array, ModelMetadata, TensorSpec


def arrays(metadata: ModelMetadata, returned: object, wanted: Sequence[str], samples: int | None) -> list[Array]:
    """The outputs wanted, in their order; `samples` is the first size that each must have, None leaves it free.

    Raises InferenceFailed with the output, what was found and the code to write.
    """
    if not isinstance(returned, Mapping):
        example = ", ".join(f'"{name}": ...' for name in metadata.outputs)
        found = "nothing" if returned is None else f"a {type(returned).__name__}"
        raise InferenceFailed(f"predict gave {found}: it must return a dict of arrays, {{{example}}}")
    unknown = [name for name in returned if name not in metadata.outputs]
    if unknown:
        raise InferenceFailed(
            f"predict gave {_names(unknown)}, which the model does not declare; "
            f"its outputs are {_names(metadata.outputs)}"
        )
    missing = [name for name in wanted if name not in returned]
    if missing:
        raise InferenceFailed(f"predict did not give {_names(missing)}; it gave {_names(returned) or 'nothing'}")
    return [_array(metadata.outputs[name], returned[name], samples) for name in wanted]


def joined(returned: object, states: Sequence[str]) -> dict[object, object]:
    """What the `predict` of a class with state returned, `(outputs, state)`, as one dict. Raises InferenceFailed."""
    example = f"return {{...}}, {{{', '.join(f'{name!r}: ...' for name in states)}}}"
    if not isinstance(returned, tuple) or len(returned) != 2 or not all(isinstance(each, Mapping) for each in returned):
        found = "nothing" if returned is None else f"a {type(returned).__name__}"
        raise InferenceFailed(f"predict gave {found}: with state it must return two dicts of arrays, {example}")
    outputs, state = returned
    if mixed := [name for name in outputs if name in states]:
        raise InferenceFailed(f"predict gave {_names(mixed)} among the outputs, which is state: {example}")
    if unknown := [name for name in state if name not in states]:
        raise InferenceFailed(f"predict gave {_names(unknown)} as state, which the model does not declare; {example}")
    return {**outputs, **state}


def _names(names: Iterable[object]) -> str:
    return ", ".join(f"'{name}'" for name in names)


def _array(spec: TensorSpec, value: object, samples: int | None) -> Array:
    if not isinstance(value, np.ndarray | np.generic):
        raise InferenceFailed(
            f"predict gave output '{spec.name}' as a {type(value).__name__}: it must be a numpy array, "
            f"np.array(..., dtype={_dtype(spec)})"
        )
    array: Array = np.asarray(value)
    array = _texts(spec, array) if spec.datatype == "BYTES" else _numbers(spec, array)
    if not spec.takes(array.shape):
        raise InferenceFailed(
            f"predict gave output '{spec.name}' in shape {list(array.shape)}: it is declared as {list(spec.shape)}"
        )
    if samples is not None and array.shape[0] != samples:
        raise InferenceFailed(
            f"predict gave {array.shape[0]} samples of output '{spec.name}' for {samples} samples of input: with "
            "batch = True it must give as many"
        )
    return array


def _numbers(spec: TensorSpec, array: Array) -> Array:
    dtype = DATATYPES[spec.datatype].dtype
    if array.dtype != dtype:
        raise InferenceFailed(
            f"predict gave output '{spec.name}' as {array.dtype}: it is declared as {spec.datatype}; "
            f"return {spec.name}.astype({_dtype(spec)})"
        )
    # A copy also of an array in order: the model may keep it, or have it out of the request, and write it in a later
    # run, while this answer is still being sent to its client.
    return np.array(array, order="C")


def _texts(spec: TensorSpec, array: Array) -> Array:
    """BYTES out of arrays of `bytes` or `str`, which become UTF-8."""
    if array.dtype.kind not in "OSU":
        raise InferenceFailed(
            f"predict gave output '{spec.name}' as {array.dtype}: it is declared as BYTES; "
            "return an array of bytes or str, np.array([...], dtype=object)"
        )
    texts = np.empty(array.size, dtype=object)
    for index, element in enumerate(array.ravel()):
        if not isinstance(element, bytes | str):
            raise InferenceFailed(
                f"predict gave element {index} of output '{spec.name}' as a {type(element).__name__}: "
                "it is declared as BYTES, whose elements are bytes or str"
            )
        texts[index] = element.encode() if isinstance(element, str) else bytes(element)
    return texts.reshape(array.shape)


def _dtype(spec: TensorSpec) -> str:
    dtype = DATATYPES[spec.datatype].dtype
    return "object" if dtype.kind == "O" else f"np.{dtype.name}"
