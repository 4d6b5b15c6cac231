"""The messages of health.proto, by their names there."""

from typing import Any

from mooring_runtime.frontends.grpc.schema import load

globals().update(load("health"))


def __getattr__(name: str) -> Any:
    """Tells type checkers that names are made at import, and people which one is not."""
    raise AttributeError(f"health.proto has no message {name}")
