"""From a loaded backend to one with state: reads what the directory of the model has for it. Blocks."""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from mooring_runtime.backends.base import Backend, Load, LoadOptions
from mooring_runtime.errors import InferenceFailed, ModelInvalid
from mooring_runtime.messages import DATATYPES, Array, ModelMetadata, StatePair, StateSchema
from mooring_runtime.repository import state
from mooring_runtime.repository.converter import StateConverter
from mooring_runtime.repository.state_config import StateConfig
from mooring_runtime.repository.stateful import Stateful

log = logging.getLogger(__name__)

SETTING = "MOORING_SESSION_PATH"
LIMIT = 2**30
"""Bytes that a file of first values may have."""


def with_state(
    backend: Backend,
    said: StateConfig | None,
    directory: Path,
    options: LoadOptions,
    load_format: Callable[[str], Load],
) -> Backend:
    """The backend with its state around it, or as it is where it has none, or clients carry it.

    Raises ModelInvalid with what is wrong with the state, its files, or the setting that it needs; UnsafeFormat for a
    converter in Python that is not allowed.
    """
    metadata = backend.metadata
    _require_place(metadata, said, backend.pairs, options)
    if said is None or not options.sessions:
        return backend
    shown = state.find(metadata, said, backend.pairs, backend.defaults)
    if not shown.pairs:
        return backend
    if metadata.decoupled:
        raise ModelInvalid(
            f"model '{metadata.name}' has state and gives any number of answers: a step of a session has one answer"
        )
    files = {each.input: directory / each.initial for each in said.pairs or () if each.initial is not None}
    pairs = tuple(_begun(pair, files.get(pair.input), backend) for pair in shown.pairs)
    schema = StateSchema(pairs, said.version)
    traits = metadata.traits._replace(state=schema)
    told = ModelMetadata(metadata.name, metadata.version, metadata.platform, shown.inputs, shown.outputs, traits)
    log.info("model '%s' has state %s: %s", metadata.name, schema.fingerprint, state.describe(pairs))
    return Stateful(backend, told, _converter(schema, said, directory, options, load_format), shown.constants)


def _require_place(
    metadata: ModelMetadata, said: StateConfig | None, own: Sequence[StatePair], options: LoadOptions
) -> None:
    """Raise ModelInvalid where a model says that it has state and the server is not to keep any."""
    if own and said is None:
        raise ModelInvalid(
            f"model '{metadata.name}': its class declares a state, and mooring.json has \"state\": false: remove one"
        )
    declares = "its class" if own else "mooring.json" if said is not None and said.declared else None
    if declares is not None and not options.sessions:
        raise ModelInvalid(
            f"model '{metadata.name}': {declares} declares a state, and {SETTING} is not set: name the directory of a "
            "volume there (spec.state of the service), or remove the declaration, so that clients carry the state"
        )


def _begun(pair: StatePair, file: Path | None, backend: Backend) -> StatePair:
    """The pair with the state that a session begins with: of the file, else the model's own, else zeros."""
    if pair.window:
        return pair
    if file is not None:
        return state.with_initial(pair, _read(file), str(file))
    if pair.input in backend.defaults:
        return state.with_initial(pair, backend.default(pair.input), f"the model's own '{pair.input}'")
    return pair


def _read(file: Path) -> Array:
    """The array in a .npy file, which never is a pickle."""
    try:
        if file.stat().st_size > LIMIT:
            raise ModelInvalid(f"{file} has {file.stat().st_size} bytes: a first state may have {LIMIT}")
        with file.open("rb") as stream:
            array: Array = np.lib.format.read_array(stream, allow_pickle=False)
    except OSError as error:
        raise ModelInvalid(f"cannot read {file}, which state.pairs of mooring.json names: {error.strerror}") from error
    except ValueError as error:
        raise ModelInvalid(f"{file} is no .npy file of plain numbers: {error}") from error
    return array


def _converter(
    schema: StateSchema,
    said: StateConfig,
    directory: Path,
    options: LoadOptions,
    load_format: Callable[[str], Load],
) -> StateConverter | None:
    if said.converter is None:
        return None
    file = directory / said.converter
    if not file.is_file():
        raise ModelInvalid(f"{file}, the converter of states, is not there")
    if file.suffix == ".py":
        # Backends are imported when a model needs them.
        from mooring_runtime.backends.python.converter import load_function  # noqa: PLC0415

        function = load_function(file, options)
        return StateConverter(schema, function.call, takes=said.converts, close=function.close)
    backend = load_format("onnx")(file, _of_converter(options))
    converter = StateConverter(schema, _by_onnx(file, backend), takes=said.converts, close=backend.close)
    known = {name for pair in schema.pairs for name in (pair.name, pair.output)}
    if unknown := [name for name in backend.metadata.outputs if name not in known]:
        backend.close()
        raise ModelInvalid(
            f"{file.name} gives {', '.join(unknown)}: its outputs must be named as the state of model "
            f"'{options.name}', {', '.join(sorted(known))}"
        )
    return converter


def _of_converter(options: LoadOptions) -> LoadOptions:
    """A conversion is a matter of microseconds and of single sessions: the CPU does it."""
    return replace(options, accelerator=False, cuda_graph=False, max_batch=0, inputs=(), outputs=(), labels={})


def _by_onnx(file: Path, backend: Backend) -> Callable[[Mapping[str, Array], str], Mapping[str, Array]]:
    inputs, outputs = backend.metadata.inputs, backend.metadata.output_names

    def convert(old: Mapping[str, Array], version: str) -> Mapping[str, Array]:
        for name, spec in inputs.items():
            array = old.get(name)
            if array is None or array.dtype != DATATYPES[spec.datatype].dtype or not spec.takes(array.shape):
                found = "nothing" if array is None else f"{array.dtype} {list(array.shape)}"
                raise InferenceFailed(
                    f"{file.name} takes '{name}' as {spec.datatype} {list(spec.shape)}, and the state of version "
                    f"{version} has {found} there"
                )
        return dict(zip(outputs, backend.infer({name: old[name] for name in inputs}, outputs), strict=True))

    return convert
