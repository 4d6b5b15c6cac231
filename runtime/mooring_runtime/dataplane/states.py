"""The tensors of a state between a session and a run. What is found out about a model is kept in its `memo`."""

from collections.abc import Mapping, Sequence

import numpy as np

from mooring_runtime.messages import DATATYPES, Array, Fitted, ModelMetadata, Tensor
from mooring_runtime.sessions.copies import State
from mooring_runtime.sessions.tensors import bytes_of

_FIRST, _ASKED, _PARTS = "steps.first", "steps.asked", "steps.parts"
"""Keys of `ModelMetadata.memo`."""
_new = tuple.__new__
"""See `infer`."""


def joined(metadata: ModelMetadata, fitted: Fitted, state: State) -> tuple[dict[str, Array], int]:
    """What a run of one step is given, by input, and its bytes: the client's tensors, and the state; without one, that
    with which a session begins.
    """
    feeds, size = dict(fitted.feeds), fitted.size
    if state:
        for name, _, array in state:
            feeds[name] = array
            size += array.nbytes
    else:
        for name, array in first(metadata).items():
            feeds[name] = array
            size += array.nbytes
    return feeds, size


def parted(
    metadata: ModelMetadata, outputs: tuple[str, ...], own: int, results: Sequence[Array]
) -> tuple[tuple[Tensor, ...], State, int]:
    """What a run of one step gave for `outputs`: the first `own` of them, which are the client's; the next state; and
    the bytes of that.
    """
    usual = outputs is metadata.memo.get(_ASKED)
    parts: _Parts | None = metadata.memo.get(_PARTS) if usual else None
    if parts is None:
        parts = _parts(metadata, outputs, own)
        if usual:
            metadata.memo[_PARTS] = parts
    answered: tuple[Tensor, ...] = ()
    for place, name, kind in parts[0]:
        answered += (_new(Tensor, (name, kind, owned(results[place]))),)
    state: State = ()
    size = 0
    for place, name, kind in parts[1]:
        array = owned(results[place])
        size += array.nbytes if kind != "BYTES" else bytes_of(array)
        state += (_new(Tensor, (name, kind, array)),)
    return answered, state, size


_Parts = tuple[list[tuple[int, str, str]], list[tuple[int, str, str]]]
"""Of what the client gets and of the state: the place in the results, and how the tensor is called and its datatype."""


def _parts(metadata: ModelMetadata, outputs: tuple[str, ...], own: int) -> _Parts:
    assert metadata.state is not None
    pairs = metadata.state.pairs
    return (
        [(place, name, metadata.askable[name].datatype) for place, name in enumerate(outputs[:own])],
        [(outputs.index(pair.output), pair.name, pair.datatype) for pair in pairs],
    )


def first(metadata: ModelMetadata) -> Mapping[str, Array]:
    """The state that sessions of a model begin with, by the names of its tensors."""
    found: dict[str, Array] | None = metadata.memo.get(_FIRST)
    if found is None:
        assert metadata.state is not None
        pairs = metadata.state.pairs
        found = metadata.memo[_FIRST] = {pair.name: pair.first(DATATYPES[pair.datatype].dtype) for pair in pairs}
    return found


def asked(metadata: ModelMetadata, outputs: tuple[str, ...]) -> tuple[str, ...]:
    """What a run is asked for whose client wants `outputs`: those, and what is missing of the next state."""
    if outputs is metadata.output_names:
        found: tuple[str, ...] | None = metadata.memo.get(_ASKED)
        if found is not None:
            return found
    assert metadata.state is not None
    asked = outputs + tuple(name for name in metadata.state.outputs if name not in outputs)
    if outputs is metadata.output_names:
        metadata.memo[_ASKED] = asked
    return asked


def owned(array: Array) -> Array:
    """An array that keeps nothing else in memory: of a run for one step alone, what the model gave may be a view."""
    return array if array.base is None else np.array(array)
