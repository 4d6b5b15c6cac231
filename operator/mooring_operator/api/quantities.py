"""Quantities and durations as Kubernetes users write them (`4Gi`, `500m`, `80ms`), to numbers and back."""

import re
from decimal import Decimal
from typing import Final

_SUFFIXES: Final = {
    "": Decimal(1),
    "n": Decimal("1e-9"),
    "u": Decimal("1e-6"),
    "m": Decimal("1e-3"),
    "k": Decimal(10) ** 3,
    "M": Decimal(10) ** 6,
    "G": Decimal(10) ** 9,
    "T": Decimal(10) ** 12,
    "P": Decimal(10) ** 15,
    "E": Decimal(10) ** 18,
    "Ki": Decimal(2) ** 10,
    "Mi": Decimal(2) ** 20,
    "Gi": Decimal(2) ** 30,
    "Ti": Decimal(2) ** 40,
    "Pi": Decimal(2) ** 50,
    "Ei": Decimal(2) ** 60,
}
_QUANTITY: Final = re.compile(r"([+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+))(?:([eE][+-]?[0-9]{1,3})|([numkMGTPE]i?|Ki|))")
_UNITS: Final = {
    "us": Decimal("1e-6"),
    "ms": Decimal("1e-3"),
    "s": Decimal(1),
    "m": Decimal(60),
    "h": Decimal(3600),
}
_DURATION_PART: Final = re.compile(r"([0-9]+(?:\.[0-9]+)?)(us|ms|s|m|h)")
# Six digits: CEL's duration() fails with a raw error beyond 292 years, and 999999h are 114.
DURATION_PATTERN: Final = "^([0-9]{1,6}([.][0-9]{1,6})?(us|ms|s|m|h))+$"
_DURATION: Final = re.compile(DURATION_PATTERN)


def quantity(value: str | int) -> Decimal:
    """Return a Kubernetes quantity (`4Gi`, `500m`, `2`, `1e3`) as an exact number of its base unit.

    Raises `ValueError` when `value` is no quantity.
    """
    match = _QUANTITY.fullmatch(str(value))
    if match is None or (match[3] or "") not in _SUFFIXES:
        raise ValueError(f"{value!r} is not a quantity: write a number with a unit such as 500m, 2 or 4Gi")
    number, exponent, suffix = match.groups()
    return Decimal(number + (exponent or "")) * _SUFFIXES[suffix or ""]


def is_quantity(value: str | int) -> bool:
    """Tell whether `value` is a Kubernetes quantity."""
    try:
        quantity(value)
    except ValueError:
        return False
    return True


def seconds(value: str) -> float:
    """Return a duration (`80ms`, `1h30m`) in seconds. Raises `ValueError` when `value` is no duration."""
    if not is_duration(value):
        raise ValueError(f"{value!r} is not a duration: write a number with a unit such as 80ms, 30s or 10m")
    return float(sum(Decimal(number) * _UNITS[unit] for number, unit in _DURATION_PART.findall(value)))


def is_duration(value: str) -> bool:
    """Tell whether `value` is a duration that `seconds` takes."""
    return _DURATION.fullmatch(value) is not None
