"""What a model's class declares: tensors as `{"x": ("FP32", [-1, 4])}`, `batch`, and the kind of its `predict`."""

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mooring_runtime.backends.base import LoadOptions
from mooring_runtime.backends.python.file import EXAMPLE
from mooring_runtime.errors import ModelInvalid
from mooring_runtime.messages import DATATYPES, ModelMetadata, TensorSpec, Traits

PLATFORM = "python"


@dataclass(frozen=True, slots=True)
class Predict:
    """What the signature of `predict` says."""

    decoupled: bool
    """It yields: any number of answers to one request."""
    parameters: bool
    """It takes the client's parameters."""


def describe(cls: type[Any], options: LoadOptions) -> ModelMetadata:
    """The metadata of a class; what `mooring.json` says (`options`) stands over what the class says.

    Raises ModelInvalid with the attribute, what was found and what to write.
    """
    inputs = options.inputs or _tensors(cls, "inputs")
    outputs = options.outputs or _tensors(cls, "outputs")
    kind = signature(cls)
    batch = _batch(cls, (*inputs, *outputs))
    if batch and kind.decoupled:
        raise ModelInvalid(
            f"{cls.__name__}: batch is True, but its predict yields answers of one request: remove batch"
        )
    traits = Traits(options.max_batch if batch else 0, kind.decoupled, kind.parameters, options.labels)
    return ModelMetadata(options.name, options.version, PLATFORM, inputs, outputs, traits)


def signature(cls: type[Any]) -> Predict:
    """How `predict` is to be called."""
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
    if not 2 <= len(by_place) <= 3 or needed:
        raise ModelInvalid(
            f"{cls.__name__}.predict takes {[each.name for each in parameters]}: write `def predict(self, inputs):`, "
            "or `def predict(self, inputs, parameters):` to be given the client's parameters"
        )
    return Predict(inspect.isgeneratorfunction(predict), len(by_place) == 3)


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
