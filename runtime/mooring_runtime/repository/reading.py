"""Reads JSON that a person wrote: every value is checked, and what is wrong is told with its place and what may stand.

A place is the file and the path of keys in it, as in `mooring.json: batching.maxSize`.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

from mooring_runtime.errors import ModelInvalid
from mooring_runtime.messages import DATATYPES, TensorSpec


class Place:
    """Where a value stands."""

    __slots__ = ("_keys", "_source")

    def __init__(self, source: str, keys: tuple[str, ...] = ()) -> None:
        self._source = source
        self._keys = keys

    def __truediv__(self, key: str | int) -> "Place":
        """The place of a value inside this one."""
        if isinstance(key, int) and self._keys:
            return Place(self._source, (*self._keys[:-1], f"{self._keys[-1]}[{key}]"))
        return Place(self._source, (*self._keys, str(key)))

    def __str__(self) -> str:
        return f"{self._source}: {'.'.join(self._keys)}" if self._keys else self._source

    def wrong(self, found: object, allowed: str) -> NoReturn:
        """Raise ModelInvalid for the value `found`."""
        text = json.dumps(found, ensure_ascii=False, default=str)
        shown = text if len(text) <= 80 else f"{text[:77]}..."
        raise ModelInvalid(f"{self} is {shown}: it must be {allowed}")


def parse(text: str | bytes, place: Place) -> dict[str, Any]:
    """The object in `text`. Raises ModelInvalid where that is no JSON object, or a key stands twice in one."""

    def pairs(items: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(items)
        if len(found) != len(items):
            twice = next(key for index, (key, _) in enumerate(items) if key in dict(items[:index]))
            raise ModelInvalid(f"{place} has the key '{twice}' twice in one object: write it once")
        return found

    try:
        document = json.loads(text, object_pairs_hook=pairs)
    except (ValueError, RecursionError) as error:
        raise ModelInvalid(f"{place} is no JSON: {error}") from error
    return mapping(document, place)


def mapping(value: object, place: Place, keys: tuple[str, ...] | None = None) -> dict[str, Any]:
    """An object, which has no other key than `keys`; None allows any."""
    if not isinstance(value, dict):
        place.wrong(value, "a JSON object")
    if keys is not None:
        for key in value:
            if key not in keys:
                raise ModelInvalid(f"{place} has no key '{key}': it may have {', '.join(keys)}")
    return value


def array(value: object, place: Place, what: str) -> list[Any]:
    """A list of `what`."""
    if not isinstance(value, list):
        place.wrong(value, f"a list of {what}")
    return value


def text(value: object, place: Place, allowed: str = "a string that is not empty") -> str:
    """A string that is not empty."""
    if not isinstance(value, str) or not value:
        place.wrong(value, allowed)
    return value


def file_name(value: object, place: Place) -> str:
    """The name of a file in the model's own directory."""
    allowed = "the name of a file in the model's directory, without a path"
    name = text(value, place, allowed)
    if Path(name).name != name or name in (".", ".."):
        place.wrong(value, allowed)
    return name


def whole(value: object, place: Place, low: int, high: int) -> int:
    """A whole number in [low, high]; a bool is none."""
    if type(value) is not int or not low <= value <= high:
        place.wrong(value, f"a whole number from {low} to {high}")
    return value


def rising(value: object, place: Place, high: int) -> tuple[int, ...]:
    """Whole numbers from 1 to `high` that rise."""
    found = tuple(
        whole(each, place / index, 1, high) for index, each in enumerate(array(value, place, "whole numbers"))
    )
    if list(found) != sorted(set(found)):
        place.wrong(value, "a list of whole numbers that rise")
    return found


def labels(value: object, place: Place) -> Mapping[str, tuple[str, ...]]:
    """Output name to the label of each index."""
    return {
        output: tuple(
            text(each, place / output / index) for index, each in enumerate(array(names, place / output, "labels"))
        )
        for output, names in mapping(value, place).items()
    }


def specs(value: object, place: Place) -> tuple[TensorSpec, ...]:
    """A list of `{"name", "datatype", "shape"}`, in V2's words; -1 is a size that each request chooses."""
    found: dict[str, TensorSpec] = {}
    for index, each in enumerate(array(value, place, "tensors")):
        here = place / index
        item = mapping(each, here, ("name", "datatype", "shape"))
        for key in ("name", "datatype", "shape"):
            if key not in item:
                raise ModelInvalid(f"{here} has no {key}: a tensor has name, datatype and shape")
        name = text(item["name"], here / "name")
        if item["datatype"] not in DATATYPES:
            (here / "datatype").wrong(item["datatype"], f"one of {', '.join(DATATYPES)}")
        shape = array(item["shape"], here / "shape", "sizes")
        sizes = tuple(whole(size, here / "shape" / axis, -1, 2**31 - 1) for axis, size in enumerate(shape))
        if name in found:
            raise ModelInvalid(f"{here}: the name '{name}' stands twice in {place}: each tensor has its own")
        found[name] = TensorSpec(name, item["datatype"], sizes)
    return tuple(found.values())
