"""Holds a request against what the model takes, and says with which others it may share a run. Pure."""

from collections.abc import Hashable, Iterable

from mooring_runtime.errors import InvalidRequest
from mooring_runtime.messages import Array, Fitted, InferRequest, ModelMetadata, TensorSpec
from mooring_runtime.scheduling import ALONE

_ANY: Hashable = ()
"""`like` of requests that differ in nothing but their first size, of which a model of fixed sizes has no others."""


def check(metadata: ModelMetadata, request: InferRequest) -> Fitted:
    """Raises InvalidRequest with the name, what was found and what the model takes.

    A request with more samples than a run has is refused where somebody stated that bound, as Triton does. Where it is
    our own it runs alone: a bound that nobody set should surprise nobody.
    """
    feeds: dict[str, Array] = {}
    size, rows, alike = 0, -1, metadata.max_batch > 0
    specs = metadata.inputs
    for name, datatype, array in request.inputs:
        spec = specs.get(name)
        shape = array.shape
        if spec is None or name in feeds or datatype != spec.datatype:
            raise _misfit(metadata, spec, name in feeds, (name, datatype, array))
        if shape not in spec.fits and not spec.takes(shape):
            raise _misfit(metadata, spec, False, (name, datatype, array))
        feeds[name] = array
        size += array.nbytes
        if alike and shape[0] != rows:
            # Sizes that differ are not samples then, though the model leaves them open.
            alike = rows < 0
            rows = shape[0]
    if len(feeds) != len(specs):
        missing = [name for name in specs if name not in feeds]
        raise InvalidRequest(f"{_of(metadata)}: input {_names(missing)} is missing")
    wanted = request.outputs
    outputs = _outputs(metadata, wanted) if wanted else metadata.output_names
    if not alike:
        return Fitted(feeds, outputs, size, max(rows, 1), ALONE, request.id)
    if rows > metadata.max_batch and metadata.batch_limit is not None:
        limit = metadata.batch_limit
        raise InvalidRequest(f"{_of(metadata)} takes at most {limit} samples in a request, not {rows}; split it")
    if not 0 < rows <= metadata.max_batch:
        return Fitted(feeds, outputs, size, rows, ALONE, request.id)
    if metadata.uniform and outputs is metadata.output_names:
        return Fitted(feeds, outputs, size, rows, _ANY, request.id)
    like = (outputs, *[feeds[name].shape[1:] for name in specs])
    return Fitted(feeds, outputs, size, rows, like, request.id)


def _misfit(
    metadata: ModelMetadata,
    spec: TensorSpec | None,
    twice: bool,
    tensor: tuple[str, str, Array],
) -> InvalidRequest:
    name, datatype, array = tensor
    of = _of(metadata)
    if spec is None:
        return InvalidRequest(f"{of} has no input '{name}'; its inputs are {_names(metadata.inputs)}")
    if twice:
        return InvalidRequest(f"{of}: input '{name}' is given twice")
    if datatype != spec.datatype:
        return InvalidRequest(f"{of}: input '{name}' has datatype {datatype}, it must be {spec.datatype}")
    return InvalidRequest(
        f"{of}: input '{name}' has shape {list(array.shape)}, it must be {list(spec.shape)}"
        + (" where -1 is any size" if -1 in spec.shape else "")
    )


def _outputs(metadata: ModelMetadata, wanted: tuple[str, ...]) -> tuple[str, ...]:
    for name in wanted:
        if name not in metadata.askable:
            raise InvalidRequest(f"{_of(metadata)} has no output '{name}'; its outputs are {_names(metadata.outputs)}")
    if len(set(wanted)) != len(wanted):
        raise InvalidRequest(f"{_of(metadata)}: an output is asked for twice in {_names(wanted)}")
    # The same object for the same meaning: clients that name all outputs share runs with those that name none.
    return metadata.output_names if wanted == metadata.output_names else wanted


def _of(metadata: ModelMetadata) -> str:
    return f"model '{metadata.name}'"


def _names(names: Iterable[str]) -> str:
    return ", ".join(f"'{name}'" for name in names)
