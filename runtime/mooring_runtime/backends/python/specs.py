"""What a model's class declares: tensors and state as `{"x": ("FP32", [-1, 4])}`, `batch`, and its `predict`."""

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np

from mooring_runtime.backends.base import LoadOptions
from mooring_runtime.backends.python.file import EXAMPLE
from mooring_runtime.errors import ModelInvalid
from mooring_runtime.messages import DATATYPES, ModelMetadata, StatePair, TensorSpec, Traits

PLATFORM = "python"


@dataclass(frozen=True, slots=True)
class Predict:
    """What the signature of `predict` says."""

    decoupled: bool
    """It yields: any number of answers to one request."""
    parameters: bool
    """It takes the client's parameters."""


class Described(NamedTuple):
    """What a class says of itself."""

    metadata: ModelMetadata
    """With the state among the inputs and the outputs, as other formats have it."""
    pairs: tuple[StatePair, ...]
    """Its state; none: it has none."""


def describe(cls: type[Any], options: LoadOptions) -> Described:
    """The metadata of a class; what `mooring.json` says (`options`) stands over what the class says.

    Raises ModelInvalid with the attribute, what was found and what to write.
    """
    inputs = options.inputs or _tensors(cls, "inputs")
    outputs = options.outputs or _tensors(cls, "outputs")
    states = _tensors(cls, "state") if isinstance(getattr(cls, "state", None), Mapping) else ()
    kind = signature(cls, state=bool(states))
    batch = _batch(cls, (*inputs, *outputs, *states))
    for role, specs in (("inputs", inputs), ("outputs", outputs)):
        for spec in specs:
            if spec.name in [each.name for each in states]:
                raise ModelInvalid(f"{cls.__name__}: '{spec.name}' stands in state and in {role}: rename one")
    if kind.decoupled and (batch or states):
        what, do = ("batch is True", "remove batch") if batch else ("it has state", "return one answer")
        raise ModelInvalid(f"{cls.__name__}: {what}, but its predict yields answers of one request: {do}")
    traits = Traits(options.max_batch if batch else 0, kind.decoupled, kind.parameters, options.labels)
    metadata = ModelMetadata(options.name, options.version, PLATFORM, (*inputs, *states), (*outputs, *states), traits)
    return Described(metadata, tuple(_pair(spec, batch) for spec in states))


def _pair(spec: TensorSpec, batch: bool) -> StatePair:
    shape, axis = ((1, *spec.shape[1:]), 0) if batch else (spec.shape, None)
    return StatePair(spec.name, spec.name, spec.name, spec.datatype, shape, axis)


def with_initial(cls: type[Any], pairs: Sequence[StatePair], returned: object) -> tuple[StatePair, ...]:
    """The pairs with what the method `initial_state` returned: arrays by name, of one session.

    Raises ModelInvalid.
    """
    of = f"{cls.__name__}.initial_state"
    if not isinstance(returned, Mapping) or set(returned) != {pair.name for pair in pairs}:
        found = list(returned) if isinstance(returned, Mapping) else type(returned).__name__
        raise ModelInvalid(f"{of} gave {found}: it must return a dict with {', '.join(pair.name for pair in pairs)}")
    found = []
    for pair in pairs:
        array = np.array(returned[pair.name], order="C")
        if array.dtype != DATATYPES[pair.datatype].dtype or not pair.takes(array.shape):
            raise ModelInvalid(
                f"{of} gave '{pair.name}' as {array.dtype} {list(array.shape)}: of one session it is {pair.datatype} "
                f"{list(pair.shape)}"
            )
        array.flags.writeable = False
        found.append(replace(pair, initial=array))
    return tuple(found)


def signature(cls: type[Any], *, state: bool = False) -> Predict:
    """How `predict` is to be called; `state`: the class has some."""
    predict = inspect.unwrap(cls.predict)
    if inspect.iscoroutinefunction(predict) or inspect.isasyncgenfunction(predict):
        raise ModelInvalid(f"{cls.__name__}.predict is async: a model runs on a thread of its own; write `def predict`")
    try:
        parameters = list(inspect.signature(cls.predict).parameters.values())
    except (TypeError, ValueError):
        parameters = []
    if isinstance(inspect.getattr_static(cls, "predict"), staticmethod | classmethod):
        raise ModelInvalid(f"{cls.__name__}.predict is static or of the class; write `def predict(self, inputs):`")
    by_place = [each for each in parameters if each.kind in (each.POSITIONAL_ONLY, each.POSITIONAL_OR_KEYWORD)]
    needed = [each for each in parameters if each.default is each.empty and each.kind is each.KEYWORD_ONLY]
    own = "self, inputs, state" if state else "self, inputs"
    least = 3 if state else 2
    if not least <= len(by_place) <= least + 1 or needed:
        raise ModelInvalid(
            f"{cls.__name__}.predict takes {[each.name for each in parameters]}: write `def predict({own}):`, "
            f"or `def predict({own}, parameters):` to be given the client's parameters"
        )
    return Predict(inspect.isgeneratorfunction(predict), len(by_place) == least + 1)


def _tensors(cls: type[Any], attribute: str) -> tuple[TensorSpec, ...]:
    declared = getattr(cls, attribute, None)
    if declared is None:
        raise ModelInvalid(f"{cls.__name__} does not say its {attribute}, nor does mooring.json; write\n{EXAMPLE}")
    if not isinstance(declared, Mapping) or not declared:
        raise _wrong(cls, attribute, declared)
    return tuple(_tensor(cls, attribute, name, what) for name, what in declared.items())


def _tensor(cls: type[Any], attribute: str, name: object, what: object) -> TensorSpec:
    if (
        not isinstance(name, str)
        or not name
        or not isinstance(what, Sequence)
        or isinstance(what, str)
        or len(what) != 2
    ):
        raise _wrong(cls, attribute, {name: what})
    datatype, shape = what
    if datatype not in DATATYPES:
        raise ModelInvalid(
            f"{cls.__name__}.{attribute}: '{name}' has datatype {datatype!r}: it must be one of {', '.join(DATATYPES)}"
        )
    if not isinstance(shape, list | tuple) or any(type(size) is not int or size < -1 for size in shape):
        raise ModelInvalid(
            f"{cls.__name__}.{attribute}: '{name}' has shape {shape!r}: it must be a list of sizes, "
            "-1 for one that each request chooses, as in [-1, 4]"
        )
    return TensorSpec(name, datatype, tuple(shape))


def _wrong(cls: type[Any], attribute: str, found: object) -> ModelInvalid:
    return ModelInvalid(
        f"{cls.__name__}.{attribute} is {found!r}: it must be a dict of name to (datatype, shape), "
        f'as in {attribute} = {{"x": ("FP32", [-1, 4])}}'
    )


def _batch(cls: type[Any], specs: tuple[TensorSpec, ...]) -> bool:
    batch = getattr(cls, "batch", False)
    if not isinstance(batch, bool):
        raise ModelInvalid(f"{cls.__name__}.batch is {batch!r}: it must be True or False")
    for spec in specs if batch else ():
        if spec.shape[:1] != (-1,):
            raise ModelInvalid(
                f"{cls.__name__}.batch is True, but '{spec.name}' has shape {list(spec.shape)}: the first size must be "
                "-1, the samples of all requests that share a call"
            )
    return batch
