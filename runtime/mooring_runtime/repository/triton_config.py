"""Triton's model configuration, which clients send with a load and read back: from its JSON and to it.

Of what a client sends these keys are acted on, in snake_case or in protobuf's camelCase, numbers also as strings:
`name` (must be the model's), `max_batch_size`, `dynamic_batching.preferred_batch_size`,
`dynamic_batching.max_queue_delay_microseconds`, `version_policy`, `default_model_filename`, `input` and `output` (name,
data_type, dims; used where the format does not carry them). What they say comes in place of `mooring.json`'s, and the
server's settings in place of both.

`IGNORED` is taken without effect, because what it asks for is decided by the model's file or by the server. Everything
else is refused by its name, unless it is empty: clients send back whole configurations that they were given.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from mooring_runtime.errors import ModelInvalid
from mooring_runtime.messages import DATATYPES, ModelMetadata, StateSchema, TensorSpec
from mooring_runtime.repository import reading
from mooring_runtime.repository.config import MAX_BATCH, ModelConfig, VersionPolicy
from mooring_runtime.repository.reading import Place

IGNORED = (
    "platform",
    "backend",
    "runtime",
    "instance_group",
    "optimization",
    "metric_tags",
    "model_metrics",
    "cc_model_filenames",
    "parameters",
    "model_transaction_policy",
)
"""Keys without effect: format and tensors come from the file, one instance runs, a model itself says if it streams."""
_IGNORED_BATCHING = ("preserve_ordering",)
_IGNORED_TENSOR = ("format",)
_TYPES = {"TYPE_STRING" if name == "BYTES" else f"TYPE_{name}": name for name in DATATYPES}
_TYPE_OF = {name: kind for kind, name in _TYPES.items()}
_BACKENDS = {"onnxruntime_onnx": "onnxruntime", "pytorch_libtorch": "pytorch", "pytorch_export": "pytorch"}


def parse(content: str, name: str, base: ModelConfig) -> ModelConfig:
    """`base` with what the configuration says for the model `name`. Raises ModelInvalid."""
    place = Place("config")
    said = _snake(reading.parse(content, place), place, ("name", *KEYS, *IGNORED))
    if said.get("name", name) not in (name, ""):
        (place / "name").wrong(said["name"], f"'{name}', the name of the model that is loaded, or be left out")
    values: dict[str, Any] = {}
    for key, value in said.items():
        if key in KEYS:
            values.update(KEYS[key](value, place / key))
    if values.get("max_batch"):
        for role in ("inputs", "outputs"):  # Triton's dims leave the batch out.
            values.update({role: tuple(_batched(spec) for spec in values[role])} if role in values else {})
    return replace(base, **values)


def render(config: ModelConfig, metadata: ModelMetadata, device: str) -> dict[str, Any]:
    """The configuration of a loaded model as Triton tells it: what perf_analyzer and clients ask for, by proto name."""
    skip = 1 if metadata.max_batch else 0
    graphics = device.partition(":")[0].upper() not in ("CPU", "")
    document: dict[str, Any] = {
        "name": metadata.name,
        "platform": metadata.platform,
        "backend": _BACKENDS.get(metadata.platform, metadata.platform),
        "version_policy": _policy(config.versions),
        "max_batch_size": metadata.max_batch,
        "input": [_tensor(spec, skip) for spec in metadata.inputs.values()],
        "output": [_tensor(spec, skip) for spec in metadata.outputs.values()],
        "instance_group": [
            {"name": metadata.name, "kind": "KIND_GPU" if graphics else "KIND_CPU", "count": 1, "gpus": [0] * graphics}
        ],
        "default_model_filename": config.file or "",
        "parameters": {},
        "model_transaction_policy": {"decoupled": metadata.decoupled},
        "response_cache": {"enable": False},
    }
    if metadata.state is not None:
        document["sequence_batching"] = _sequences(metadata.state)
    elif metadata.max_batch:
        document["dynamic_batching"] = {
            "preferred_batch_size": list(config.preferred),
            "max_queue_delay_microseconds": round((config.max_delay or 0.0) * 1e6),
        }
    return document


def _sequences(state: StateSchema) -> dict[str, Any]:
    """A model with state: that its requests are steps of sessions, and what its state is made of.

    The time for which a session may rest is the server's to say, and an idle one gets its notice; 0 says nothing of it.
    """
    return {
        "max_sequence_idle_microseconds": 0,
        "state": [
            {
                "input_name": pair.name,
                "output_name": pair.output,
                "data_type": _TYPE_OF[pair.datatype],
                "dims": list(pair.shape if pair.axis is None else pair.shape[1:]),
            }
            for pair in state.pairs
        ],
    }


def _snake(value: object, place: Place, keys: tuple[str, ...]) -> dict[str, Any]:
    """An object with its keys in snake_case; ModelInvalid for one that is neither known nor empty."""
    found: dict[str, Any] = {}
    for key, each in reading.mapping(value, place).items():
        name = re.sub("[A-Z]", lambda letter: f"_{letter[0].lower()}", key)
        if name in keys:
            found[name] = each
        elif not _empty(each):
            raise ModelInvalid(f"{place / key} is not supported: leave it out; {place} may have {', '.join(keys)}")
    return found


def _empty(value: object) -> bool:
    if isinstance(value, dict):
        return all(map(_empty, value.values()))
    if isinstance(value, list):
        return all(map(_empty, value))
    return value in (None, False, 0, "", "0")


def _number(value: object, place: Place, high: int, low: int = 0) -> int:
    """A whole number, which protobuf's JSON also writes as a string."""
    if isinstance(value, str) and re.fullmatch(r"-?[0-9]{1,19}", value):
        value = int(value)
    return reading.whole(value, place, low, high)


def _max_batch(value: object, place: Place) -> dict[str, Any]:
    return {"max_batch": _number(value, place, MAX_BATCH)}


def _batching(value: object, place: Place) -> dict[str, Any]:
    keys = ("preferred_batch_size", "max_queue_delay_microseconds", *_IGNORED_BATCHING)
    said = _snake(value, place, keys)
    found: dict[str, Any] = {}
    if sizes := said.get("preferred_batch_size"):
        here = place / "preferred_batch_size"
        numbers = [_number(each, here, MAX_BATCH, 1) for each in reading.array(sizes, here, "whole numbers")]
        found["preferred"] = tuple(sorted(set(numbers)))
    if "max_queue_delay_microseconds" in said:
        delay = _number(said["max_queue_delay_microseconds"], place / "max_queue_delay_microseconds", 10**9)
        found["max_delay"] = delay / 1e6
    return found


def _version_policy(value: object, place: Place) -> dict[str, Any]:
    said = _snake(value, place, ("latest", "all", "specific"))
    if len(said) > 1:
        place.wrong(value, "one of latest, all and specific")
    if "all" in said:
        return {"versions": VersionPolicy(latest=None)}
    if "specific" in said:
        here = place / "specific" / "versions"
        versions = _snake(said["specific"], place / "specific", ("versions",)).get("versions")
        numbers = tuple(
            sorted({_number(each, here, 2**63 - 1, 1) for each in reading.array(versions, here, "versions")})
        )
        if not numbers:
            here.wrong(versions, "a list of at least one version")
        return {"versions": VersionPolicy(specific=numbers)}
    count = _snake(said.get("latest", {}), place / "latest", ("num_versions",)).get("num_versions", 1)
    return {"versions": VersionPolicy(_number(count, place / "latest" / "num_versions", 1000, 1))}


def _file(value: object, place: Place) -> dict[str, Any]:
    return {"file": reading.file_name(value, place)} if value else {}


def _tensors(value: object, place: Place) -> tuple[TensorSpec, ...]:
    found = []
    for index, each in enumerate(reading.array(value, place, "tensors")):
        here = place / index
        said = _snake(each, here, ("name", "data_type", "dims", *_IGNORED_TENSOR))
        kind = said.get("data_type")
        if kind not in _TYPES:
            (here / "data_type").wrong(kind, f"one of {', '.join(_TYPES)}")
        dims = reading.array(said.get("dims"), here / "dims", "sizes")
        sizes = tuple(_number(size, here / "dims", 2**31 - 1, -1) for size in dims)
        found.append(TensorSpec(reading.text(said.get("name"), here / "name"), _TYPES[kind], sizes))
    return tuple(found)


def _sequence_batching(value: object, place: Place) -> dict[str, Any]:
    """What `_sequences` has told comes back and says nothing new; how sequences are batched nobody else decides."""
    _snake(value, place, ("state",))
    return {}


KEYS: Mapping[str, Callable[[Any, Place], dict[str, Any]]] = {
    "max_batch_size": _max_batch,
    "dynamic_batching": _batching,
    "sequence_batching": _sequence_batching,
    "version_policy": _version_policy,
    "default_model_filename": _file,
    "input": lambda value, place: {"inputs": _tensors(value, place)},
    "output": lambda value, place: {"outputs": _tensors(value, place)},
}
"""What reads each key that is acted on."""


def _batched(spec: TensorSpec) -> TensorSpec:
    return TensorSpec(spec.name, spec.datatype, (-1, *spec.shape))


def _policy(policy: VersionPolicy) -> Mapping[str, Any]:
    if policy.specific:
        return {"specific": {"versions": list(policy.specific)}}
    return {"all": {}} if policy.latest is None else {"latest": {"num_versions": policy.latest}}


def _tensor(spec: TensorSpec, skip: int) -> dict[str, Any]:
    return {"name": spec.name, "data_type": _TYPE_OF[spec.datatype], "dims": list(spec.shape[skip:])}
