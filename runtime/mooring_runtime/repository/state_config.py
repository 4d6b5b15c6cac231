"""The key `state` of `mooring.json`: what a model keeps between the steps of a session.

    "state": {
      "version": "2",                                   changes when the same tensors mean something else
      "pairs": [                                        left out: those that the names of the model's tensors tell
        {"input": "h_in", "output": "h_out",            the tensor that takes the state, and the one that gives the next
         "axis": 1,                                     along which sessions stand beside each other; null: nowhere;
                                                        left out: the one that is free in both tensors
         "initial": "h0.npy"}                           a file beside the model; left out: zeros
      ],
      "windows": [{"input": "input", "keep": 64}],      the last elements of an input go before what comes next
      "constants": {"sr": 16000},                       inputs that are the same in every step; clients do not send them
      "converter": {"file": "convert.onnx",             or convert.py: makes states of another schema into ours;
                    "from": ["1"]}                      of which versions or fingerprints; left out: it tries all
    }

`false` in its place says that clients carry the state, whatever the names of the tensors tell.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from mooring_runtime.repository import reading
from mooring_runtime.repository.reading import Place
from mooring_runtime.settings.kinds import version

LARGEST_WINDOW = 2**24


@dataclass(frozen=True, slots=True)
class PairConfig:
    """A pair that is declared."""

    input: str
    output: str
    axis: int | None = None
    axis_said: bool = False
    """`axis` is what somebody said, None too; else it is to be found."""
    initial: str | None = None
    """Name of a file; None: zeros."""


@dataclass(frozen=True, slots=True)
class WindowConfig:
    """An input whose last elements are kept."""

    input: str
    keep: int


@dataclass(frozen=True, slots=True)
class StateConfig:
    """What is said of a model's state."""

    pairs: tuple[PairConfig, ...] | None = None
    """None: by the names of the tensors."""
    windows: tuple[WindowConfig, ...] = ()
    constants: Mapping[str, object] = field(default_factory=dict)
    """By input: a number, or a list of them as JSON has it."""
    version: str = ""
    converter: str | None = None
    """Name of a file."""
    converts: tuple[str, ...] = ()
    """Model versions and fingerprints; empty: whatever it can."""
    declared: bool = True
    """`mooring.json` says it; else only the settings speak of a state that the model may have."""


UNSAID = StateConfig(declared=False)
"""Of a model whose `mooring.json` does not speak of state."""


def read(value: object, place: Place) -> StateConfig | None:
    """The value of the key; None for `false`. Raises ModelInvalid."""
    if value is False:
        return None
    if not isinstance(value, dict):
        place.wrong(value, "a JSON object, or false where clients carry the state")
    keys = reading.mapping(value, place, ("version", "pairs", "windows", "constants", "converter"))
    found: dict[str, Any] = {}
    if "version" in keys:
        found["version"] = _version(keys["version"], place / "version")
    if "pairs" in keys:
        here = place / "pairs"
        found["pairs"] = tuple(
            _pair(each, here / index) for index, each in enumerate(reading.array(keys["pairs"], here, "pairs"))
        )
    if "windows" in keys:
        here = place / "windows"
        found["windows"] = tuple(
            _window(each, here / index) for index, each in enumerate(reading.array(keys["windows"], here, "windows"))
        )
    if "constants" in keys:
        found["constants"] = reading.mapping(keys["constants"], place / "constants")
    if "converter" in keys:
        found |= _converter(keys["converter"], place / "converter")
    return StateConfig(**found)


def _version(value: object, place: Place) -> str:
    kind = version()
    allowed = f"a string of {kind.allowed}"
    try:
        return kind.parse(reading.text(value, place, allowed))
    except ValueError:
        place.wrong(value, allowed)


def _pair(value: object, place: Place) -> PairConfig:
    item = reading.mapping(value, place, ("input", "output", "axis", "initial"))
    axis = item.get("axis")
    if axis is not None:
        axis = reading.whole(axis, place / "axis", 0, 31)
    return PairConfig(
        reading.text(item.get("input"), place / "input", "the name of an input of the model"),
        reading.text(item.get("output"), place / "output", "the name of an output of the model"),
        axis,
        "axis" in item,
        _npy(item["initial"], place / "initial") if "initial" in item else None,
    )


def _npy(value: object, place: Place) -> str:
    name = reading.file_name(value, place)
    if not name.endswith(".npy"):
        place.wrong(value, "the name of a .npy file in the model's directory; leave it out for zeros")
    return name


def _window(value: object, place: Place) -> WindowConfig:
    item = reading.mapping(value, place, ("input", "keep"))
    return WindowConfig(
        reading.text(item.get("input"), place / "input", "the name of an input of the model"),
        reading.whole(item.get("keep"), place / "keep", 1, LARGEST_WINDOW),
    )


def _converter(value: object, place: Place) -> dict[str, Any]:
    item = reading.mapping(value, place, ("file", "from"))
    name = reading.file_name(item.get("file"), place / "file")
    if not name.endswith((".onnx", ".py")):
        (place / "file").wrong(name, "the name of an .onnx or a .py file in the model's directory")
    here = place / "from"
    said = reading.array(item.get("from", []), here, "versions and fingerprints")
    allowed = 'a version of the model or the fingerprint of a state, as in "1"'
    return {
        "converter": name,
        "converts": tuple(reading.text(each, here / index, allowed) for index, each in enumerate(said)),
    }
