"""Which of a model's tensors are its state: as `mooring.json` declares them, or by their names. Pure.

A pair is an input that takes the state and an output that gives the next. Pairs are found by name, and never by the
order in which a model has its tensors: `h_out` may come before `c_out` although `c_in` comes before `h_in`, and states
that are crossed give wrong answers without a word.
"""

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import NamedTuple, NoReturn

import numpy as np

from mooring_runtime.errors import ModelInvalid
from mooring_runtime.messages import DATATYPES, Array, ModelMetadata, StatePair, TensorSpec
from mooring_runtime.repository.state_config import PairConfig, StateConfig, WindowConfig

CONVENTION: Sequence[tuple[re.Pattern[str], tuple[str, ...]]] = (
    (re.compile(r"state_in((?:_.+)?)"), (r"state_out\1",)),
    (re.compile(r"past_key_values([._].+)"), (r"present\1", r"present_key_values\1")),
    (re.compile(r"past([._].+)"), (r"present\1",)),
    (re.compile(r"([hc][0-9]*)_in"), (r"\1_out",)),
)
"""Names of inputs that take a state, and the outputs that give the next: the first pattern that fits counts."""
_GIVES = re.compile(r"state_out(?:_.+)?|present(?:_key_values)?[._].+|[hc][0-9]*_out")
"""Names of outputs that give a state."""
_PLAIN = re.compile(r"state_(?:in|out)(?:_.+)?")
"""Names that can mean nothing else."""


class Shown(NamedTuple):
    """A model as its clients see it."""

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    pairs: tuple[StatePair, ...]
    """In the order of their names; none: it has no state."""
    constants: Mapping[str, Array] = MappingProxyType({})
    """Inputs that are the same in every run."""


def find(
    metadata: ModelMetadata,
    said: StateConfig,
    own: Sequence[StatePair] = (),
    defaults: Mapping[str, TensorSpec] = MappingProxyType({}),
) -> Shown:
    """The state of the model that a backend has loaded, and its other tensors; `own` is what its code declares.

    `defaults` are inputs beside those of `metadata` for which the model has a value: they are state or left alone.
    Initial values that are files are not read. Raises ModelInvalid with all that is wrong with the pairs.
    """
    takes = {**metadata.inputs, **defaults}
    if own and said.pairs is not None:
        _wrong(metadata, f"its class declares the state {_names(own)}, and mooring.json has state.pairs: keep one")
    named: tuple[PairConfig, ...] = ()
    if not own:
        named = by_name(metadata, defaults, declared=said.declared) if said.pairs is None else said.pairs
    _check_names(metadata, takes, named)
    taken = {pair.input for pair in named} | {pair.input for pair in own}
    given = {pair.output for pair in named} | {pair.output for pair in own}
    constants = _constants(metadata, said, taken)
    hidden = taken | set(constants)
    inputs = tuple(spec for spec in metadata.inputs.values() if spec.name not in hidden)
    outputs = tuple(spec for spec in metadata.outputs.values() if spec.name not in given)
    faults: list[str] = []
    pairs = list(own)
    for each in named:
        try:
            pairs.append(_pair(takes[each.input], metadata.outputs[each.output], each, (*inputs, *outputs)))
        except ValueError as error:
            faults.append(str(error))
    if faults:
        _wrong(metadata, "; ".join(faults))
    shown = {spec.name: spec for spec in inputs}
    for window in said.windows:
        pair, spec = _window(metadata, window, shown, [pair.input for pair in pairs if pair.window])
        pairs.append(pair)
        shown[spec.name] = spec
    if said.declared and not pairs and not (said.pairs or said.windows):
        _wrong(
            metadata,
            "mooring.json has state, but no pairs, and no names of tensors tell any; declare state.pairs. Its inputs "
            f"are {_names(metadata.inputs.values())}, its outputs {_names(metadata.outputs.values())}",
        )
    used = [*(pair.name for pair in pairs), *shown]
    made = [*(pair.output for pair in pairs), *(spec.name for spec in outputs)]
    for names in (used, made):
        if twice := sorted({name for name in names if names.count(name) > 1}):
            _wrong(metadata, f"the name '{twice[0]}' stands for a state and for another tensor: rename one")
    return Shown(tuple(shown.values()), outputs, tuple(sorted(pairs, key=lambda pair: pair.name)), constants)


def by_name(metadata: ModelMetadata, defaults: Collection[str], *, declared: bool) -> tuple[PairConfig, ...]:
    """The pairs that the names of the tensors tell; `declared`: somebody says that there are some.

    An input or output that is half of a pair is an error where there are whole ones, or its name can mean nothing
    else: to leave it to the client would be to lose a part of the state.
    """
    found: dict[str, str] = {}
    halves: list[str] = []
    plain = declared
    for name in (*metadata.inputs, *defaults):
        possible = partners(name)
        there = [each for each in possible if each in metadata.outputs]
        if len(there) > 1:
            _wrong(metadata, f"input '{name}' may belong to the outputs {', '.join(there)}: declare state.pairs")
        if there:
            found[name] = there[0]
        elif possible:
            halves.append(f"input '{name}' has no output {' or '.join(map(repr, possible))}")
            plain = plain or _PLAIN.fullmatch(name) is not None
    outputs = list(found.values())
    if twice := sorted({output for output in outputs if outputs.count(output) > 1}):
        claims = [f"'{name}'" for name, output in found.items() if output in twice]
        _wrong(metadata, f"output '{twice[0]}' belongs to the inputs {', '.join(claims)}: declare state.pairs")
    for name in metadata.outputs:
        if name not in outputs and _GIVES.fullmatch(name):
            halves.append(f"output '{name}' has no input of a state that it would be the next of")
            plain = plain or _PLAIN.fullmatch(name) is not None
    if halves and (found or plain):
        _wrong(
            metadata,
            f"its state has halves: {'; '.join(halves)}. Rename them, declare the pairs as state.pairs in "
            'mooring.json, or say "state": false there if clients carry the state',
        )
    return tuple(PairConfig(name, output) for name, output in found.items())


def partners(name: str) -> list[str]:
    """Names that the output may have which gives the next state of the input `name`."""
    for pattern, outputs in CONVENTION:
        match = pattern.fullmatch(name)
        if match is not None:
            return [match.expand(output) for output in outputs]
    return []


def _check_names(metadata: ModelMetadata, takes: Mapping[str, TensorSpec], pairs: Sequence[PairConfig]) -> None:
    faults = []
    for role, specs, names in (
        ("input", takes, [pair.input for pair in pairs]),
        ("output", metadata.outputs, [pair.output for pair in pairs]),
    ):
        for name in dict.fromkeys(names):
            if name not in specs:
                faults.append(f"it has no {role} '{name}'; its {role}s are {_names(specs.values())}")
            if names.count(name) > 1:
                faults.append(f"{role} '{name}' stands in {names.count(name)} pairs")
    if faults:
        _wrong(metadata, f"state.pairs of mooring.json: {'; '.join(faults)}")


def _constants(metadata: ModelMetadata, said: StateConfig, taken: Collection[str]) -> dict[str, Array]:
    """The inputs that have a value for good, as arrays."""
    found = {}
    for name, value in said.constants.items():
        place = f"state.constants of mooring.json: '{name}'"
        spec = metadata.inputs.get(name)
        if spec is None or name in taken:
            _wrong(
                metadata, f"{place} is no input that clients send; the inputs are {_names(metadata.inputs.values())}"
            )
        what = f"{spec.datatype} {list(spec.shape)}"
        if spec.datatype in ("BYTES", "BF16") or -1 in spec.shape:
            _wrong(metadata, f"{place} is {what}: a constant is of numbers, and has no size that is free")
        try:
            array = np.array(value, DATATYPES[spec.datatype].dtype)
            exact = array.dtype.kind == "f" or np.array_equal(array, np.array(value))
        except (ValueError, TypeError, OverflowError):
            exact = False
        if not exact or array.shape != spec.shape:
            _wrong(metadata, f"{place} is {value!r:.80}: the model takes {what}")
        array.flags.writeable = False
        found[name] = array
    return found


def _pair(taken: TensorSpec, given: TensorSpec, said: PairConfig, others: Sequence[TensorSpec]) -> StatePair:
    """The pair of these, checked. Raises ValueError."""
    both = f"input '{taken.name}' is {taken.datatype} {list(taken.shape)}, output '{given.name}' is {given.datatype} "
    both += str(list(given.shape))
    sizes = list(zip(taken.shape, given.shape, strict=False))
    # onnxruntime has the shape [] also for what it does not know.
    known = taken.shape if not given.shape else tuple(max(size) for size in sizes)
    if taken.datatype != given.datatype:
        raise ValueError(f"{both}: the datatypes of a pair must be the same")
    if given.shape and (
        len(taken.shape) != len(given.shape) or any(-1 not in pair and pair[0] != pair[1] for pair in sizes)
    ):
        raise ValueError(f"{both}: the shapes of a pair must agree")
    axis = said.axis if said.axis_said else _free_axis(taken, given, others)
    if axis is None:
        return StatePair(taken.name, taken.name, given.name, taken.datatype, known, None)
    if axis >= len(taken.shape) or taken.shape[axis] != -1 or known[axis] != -1:
        raise ValueError(f"{both}: axis {axis} must be free (-1) in both, or null")
    kept = (1, *known[:axis], *known[axis + 1 :])
    return StatePair(taken.name, taken.name, given.name, taken.datatype, kept, axis)


def _free_axis(taken: TensorSpec, given: TensorSpec, others: Sequence[TensorSpec]) -> int | None:
    """Where sessions stand beside each other; None: nowhere. Raises ValueError where that cannot be told.

    A free size is the sessions', or one that grows; a wrong guess would mix sessions, or begin with nothing.
    """
    free = [
        axis
        for axis, size in enumerate(taken.shape)
        if size == -1 and (not given.shape or given.shape[axis : axis + 1] == (-1,))
    ]
    first = [spec.shape[:1] == (-1,) for spec in others]
    if not free or not any(first):
        return None
    if all(first) and (len(free) == 1 or free[0] == 0):
        return free[0]
    raise ValueError(
        f"input '{taken.name}' has shape {list(taken.shape)}, of which {_list(free)} may be the sessions' or a size "
        'that grows: say which is the sessions\' as "axis" in state.pairs, a number, or null for none'
    )


def _window(
    metadata: ModelMetadata, said: WindowConfig, shown: Mapping[str, TensorSpec], before: Sequence[str]
) -> tuple[StatePair, TensorSpec]:
    """The window, and its input as clients see it."""
    place = f"state.windows of mooring.json: '{said.input}'"
    spec = shown.get(said.input)
    if spec is None:
        _wrong(metadata, f"{place} is no input that clients send; those are {_names(shown.values())}")
    if said.input in before:
        _wrong(metadata, f"{place} stands there twice")
    if spec.datatype == "BYTES" or not spec.shape:
        _wrong(metadata, f"{place} is {spec.datatype} {list(spec.shape)}: a window needs numbers and an axis")
    *rows, last = spec.shape
    batched = bool(rows) and rows[0] == -1
    kept = (*([1, *rows[1:]] if batched else rows), said.keep)
    if -1 in kept:
        _wrong(metadata, f"{place} has shape {list(spec.shape)}: only its first and its last size may be free")
    if last != -1 and last <= said.keep:
        _wrong(metadata, f"{place} has {last} elements, so that fewer than {last} can be kept, not {said.keep}")
    name = f"{said.input}.window"
    pair = StatePair(name, said.input, name, spec.datatype, kept, 0 if batched else None, window=said.keep)
    return pair, TensorSpec(spec.name, spec.datatype, (*rows, last if last == -1 else last - said.keep))


def with_initial(pair: StatePair, array: Array, source: str) -> StatePair:
    """The pair with the first state that `source` gives: in the model's own shape, its axis of the sessions 1 or left
    out. Raises ModelInvalid.
    """
    kept = array
    if pair.axis is not None:
        kept = array[None] if array.ndim == len(pair.shape) - 1 else array
        if kept is array and pair.axis < array.ndim:
            kept = np.moveaxis(array, pair.axis, 0)
    dtype = DATATYPES[pair.datatype].dtype
    if kept.dtype != dtype or not pair.takes(kept.shape):
        own = list(pair.shape)
        if pair.axis:
            own.insert(pair.axis, own.pop(0))
        raise ModelInvalid(
            f"{source} is {array.dtype} {list(array.shape)}: the state '{pair.name}' begins with {dtype} {own}"
            + (", where -1 is any size" if -1 in own else "")
        )
    first = kept.copy(order="C")
    first.flags.writeable = False
    return replace(pair, initial=first)


def describe(pairs: Iterable[StatePair]) -> str:
    """The pairs in a line, for the log and for `check`."""
    told = []
    for pair in pairs:
        how = "alone" if pair.axis is None else f"sessions along axis {pair.axis}"
        what = f"the last {pair.window} of {pair.input}" if pair.window else f"{pair.input} -> {pair.output}"
        told.append(f"{what} ({pair.datatype} {list(pair.shape)}, {how})")
    return "; ".join(told)


def _wrong(metadata: ModelMetadata, what: str) -> NoReturn:
    raise ModelInvalid(f"model '{metadata.name}': {what}")


def _names(specs: Iterable[TensorSpec | StatePair]) -> str:
    return ", ".join(f"'{spec.name}'" for spec in specs) or "none"


def _list(axes: Sequence[int]) -> str:
    return ", ".join(f"axis {axis}" for axis in axes)
