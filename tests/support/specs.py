"""Plain good specs, and how to put one thing wrong into them."""

from typing import Any, NamedTuple

Spec = dict[str, Any]

SHA256 = "9f2c5a7d1e0b4c3f8a6e9d2b7c1f0a5e4d3c2b1a0f9e8d7c6b5a493827160e5d"
OCI = "oci://registry.example/models/sentiment@sha256:" + SHA256
GOOD: Spec = {"model": {"uri": OCI}}
STATE: Spec = {"volume": {"size": "20Gi", "storageClassName": "fast"}}


class Bad(NamedTuple):
    """One wrong spec."""

    name: str
    spec: Spec
    """The whole spec."""
    field: str
    """Path of the field that is blamed."""
    says: str
    """Part of the API server's message."""
    ours: str = ""
    """Part of the operator's message, where it differs."""


class BadChange(NamedTuple):
    """A change of a good spec into another good one that is not allowed; only the API server sees both."""

    name: str
    old: Spec
    new: Spec
    field: str
    says: str


def but(**fields: Any) -> Spec:
    """Return the good spec with further fields."""
    return {**GOOD, **fields}


def model(**fields: Any) -> Spec:
    """Return the good spec with another model."""
    return {"model": {**GOOD["model"], **fields}}


def uri(value: str) -> Spec:
    """Return a spec with this URI, and with the digest that https:// needs."""
    return {"model": {"uri": value, **({"sha256": SHA256} if value.startswith("https://") else {})}}


def stateful(**fields: Any) -> Spec:
    """Return a stateful spec with further fields of `state`."""
    return but(state={**STATE, **fields})
