"""What a model's own `mooring.json` says of it, and how the settings change that.

The file stands beside the model's file; in a repository of many models in NAME/, or in NAME/VERSION/ where it then
holds for that version alone, in place of the other. Every key is optional, and a key that is not known is an error:

    {
      "file": "model.onnx",                             the model's file, where the directory has several
      "batching": {"maxSize": 32, "maxDelay": "2ms", "preferredSizes": [8, 16, 32]},
      "versions": {"latest": 1},                        or {"specific": [1, 3]}, or "all"; which ones are served
      "warmup": {"runs": 4, "requests": "warmup.json"}, V2 infer requests in JSON, in place of zeros
      "labels": {"scores": ["cat", "dog"]},             for classification: by output, the label of each index
      "inputs": [{"name": "x", "datatype": "FP32", "shape": [-1, 4]}],
      "outputs": [{"name": "y", "datatype": "FP32", "shape": [-1, 2]}],
      "state": {"pairs": [{"input": "h_in", "output": "h_out"}]}      what it keeps of a session, see `state_config`
    }

`inputs` and `outputs` are for formats that do not carry them (torch-export, torchscript, python).
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from mooring_runtime.errors import ModelInvalid, ModelNotFound
from mooring_runtime.messages import TensorSpec
from mooring_runtime.repository import reading, state_config
from mooring_runtime.repository.reading import Place
from mooring_runtime.repository.state_config import UNSAID, StateConfig
from mooring_runtime.settings import ServeSettings
from mooring_runtime.settings.kinds import duration

NAME = "mooring.json"
"""The file's name."""
LIMIT = 16 * 2**20
"""Bytes that the file may have: labels are what makes one long."""
MAX_BATCH = 4096
WARMUP_RUNS = 4
"""Runs of a warm-up when nobody says how many: the first pays for allocations, the others are timed."""


@dataclass(frozen=True, slots=True)
class VersionPolicy:
    """Which of the versions that are there are served."""

    latest: int | None = 1
    """So many of the highest; None: all of them."""
    specific: tuple[int, ...] = ()
    """These, when there are any, whatever `latest` says."""

    def choose(self, available: Iterable[int]) -> list[int]:
        """The versions to serve, in rising order. Raises ModelNotFound for a specific one that is not there."""
        versions = sorted(available)
        for each in self.specific:
            if each not in versions:
                raise ModelNotFound(
                    f"version {each} is asked for by the version policy, but there "
                    f"{'is only' if len(versions) == 1 else 'are'} {', '.join(map(str, versions)) or 'none'}"
                )
        if self.specific:
            return list(self.specific)
        return versions if self.latest is None else versions[-self.latest :]


@dataclass(frozen=True, slots=True)
class ModelConfig:
    """What is said of a model beside its file. None everywhere: nobody said it, and the server decides."""

    file: str | None = None
    """Name of the model's file in its directory."""
    max_batch: int | None = None
    """The most samples of one request and of one run; 0 or 1: no batching."""
    max_delay: float | None = None
    """Seconds that a request may wait for others to share its run."""
    preferred: tuple[int, ...] = ()
    """Sizes that a run should have, rising."""
    versions: VersionPolicy = VersionPolicy()
    warmup: int | None = None
    """Runs before the model is ready."""
    requests: str | None = None
    """Name of the file with requests for the warm-up, in the model's directory; None: zeros."""
    labels: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    inputs: tuple[TensorSpec, ...] = ()
    outputs: tuple[TensorSpec, ...] = ()
    state: StateConfig | None = UNSAID
    """None: clients carry it, whatever the names of the tensors tell."""

    def under(self, settings: ServeSettings) -> "ModelConfig":
        """This, with what the settings say in place of what the model says."""
        said: dict[str, Any] = {
            "max_batch": settings.batch_max_size,
            "max_delay": settings.batch_max_delay,
            "preferred": settings.batch_preferred or None,
            "warmup": settings.warmup,
            "state": self._state(settings),
        }
        changed = replace(self, **{name: value for name, value in said.items() if value is not None})
        if changed.max_batch is None:
            return changed
        # A smaller bound leaves those of the sizes that can still be reached.
        most = changed.max_batch
        return replace(changed, preferred=tuple(size for size in changed.preferred if size <= most))

    def _state(self, settings: ServeSettings) -> StateConfig | None:
        if self.state is None:
            return None
        own = self.state
        return replace(
            own,
            version=settings.state_version or own.version,
            converter=settings.state_converter or own.converter,
        )


def read(directory: Path) -> ModelConfig | None:
    """What `mooring.json` in the directory says; None where there is none. Raises ModelInvalid, ModelNotFound."""
    file = directory / NAME
    try:
        if not file.is_file():
            return None
        if file.stat().st_size > LIMIT:
            raise ModelInvalid(f"{file} has {file.stat().st_size} bytes: it may have {LIMIT}")
        content = file.read_bytes()
    except OSError as error:
        raise ModelNotFound(f"cannot read {file}: {error.strerror}") from error
    return parse(content, str(file))


def parse(content: str | bytes, source: str) -> ModelConfig:
    """The configuration in the text of a `mooring.json` that is called `source` in errors. Raises ModelInvalid."""
    place = Place(source)
    document = reading.mapping(reading.parse(content, place), place, tuple(KEYS))
    values: dict[str, Any] = {}
    for key, value in document.items():
        values.update(KEYS[key](value, place / key))
    return ModelConfig(**values)


def _batching(value: object, place: Place) -> dict[str, Any]:
    found: dict[str, Any] = {}
    keys = reading.mapping(value, place, ("maxSize", "maxDelay", "preferredSizes"))
    if "maxSize" in keys:
        found["max_batch"] = reading.whole(keys["maxSize"], place / "maxSize", 1, MAX_BATCH)
    if "maxDelay" in keys:
        found["max_delay"] = _duration(keys["maxDelay"], place / "maxDelay")
    if "preferredSizes" in keys:
        here = place / "preferredSizes"
        found["preferred"] = sizes = reading.rising(keys["preferredSizes"], here, MAX_BATCH)
        if sizes and "max_batch" in found and sizes[-1] > found["max_batch"]:
            here.wrong(keys["preferredSizes"], f"at most maxSize, which is {found['max_batch']}")
    return found


def _duration(value: object, place: Place) -> float:
    kind = duration()
    try:
        return kind.parse(reading.text(value, place, kind.allowed))
    except ValueError:
        place.wrong(value, kind.allowed)


def _versions(value: object, place: Place) -> dict[str, Any]:
    if value == "all":
        return {"versions": VersionPolicy(latest=None)}
    if not isinstance(value, dict) or len(value) != 1 or not value.keys() <= {"latest", "specific"}:
        place.wrong(value, 'one of {"latest": 1}, {"specific": [1, 3]} and "all"')
    if "latest" in value:
        return {"versions": VersionPolicy(reading.whole(value["latest"], place / "latest", 1, 1000))}
    specific = reading.rising(value["specific"], place / "specific", 2**63 - 1)
    if not specific:
        (place / "specific").wrong(value["specific"], "a list of at least one version")
    return {"versions": VersionPolicy(specific=specific)}


def _warmup(value: object, place: Place) -> dict[str, Any]:
    found: dict[str, Any] = {}
    keys = reading.mapping(value, place, ("runs", "requests"))
    if "runs" in keys:
        found["warmup"] = reading.whole(keys["runs"], place / "runs", 0, 1000)
    if "requests" in keys:
        found["requests"] = reading.file_name(keys["requests"], place / "requests")
    return found


KEYS: Mapping[str, Callable[[Any, Place], dict[str, Any]]] = {
    "file": lambda value, place: {"file": reading.file_name(value, place)},
    "batching": _batching,
    "versions": _versions,
    "warmup": _warmup,
    "labels": lambda value, place: {"labels": reading.labels(value, place)},
    "inputs": lambda value, place: {"inputs": reading.specs(value, place)},
    "outputs": lambda value, place: {"outputs": reading.specs(value, place)},
    "state": lambda value, place: {"state": state_config.read(value, place)},
}
"""What reads each key."""
