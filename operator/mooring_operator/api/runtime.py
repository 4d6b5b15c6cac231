"""The server that runs the model: its image, arguments, environment and limits."""

from typing import Annotated, Literal

from pydantic import Field

from .fields import Bool, Int, ListMap, matches
from .rules import ApiModel, Rule

Variant = Literal["onnx", "onnx-gpu", "torch"]


class EnvVar(ApiModel):
    """One environment variable of the server."""

    name: Annotated[
        str,
        Field(min_length=1, max_length=256),
        matches(
            "^[A-Za-z_][A-Za-z0-9_]*$", "write a variable's name: letters, digits and '_', not beginning with a digit"
        ),
        Rule(
            "!self.startsWith('MOORING_')",
            "variables that begin with MOORING_ belong to Mooring: use the field that sets it",
            lambda value: not value.startswith("MOORING_"),
        ),
    ]
    """Name of the variable."""
    value: Annotated[str, Field(max_length=4096)] = ""
    """Its value."""


class Runtime(ApiModel):
    """The server that runs the model."""

    image: (
        Annotated[
            str,
            Field(min_length=1, max_length=512),
            matches(
                "^[a-z0-9][-A-Za-z0-9._:/@]*$", "write an image reference such as registry.example/mooring-runtime:1.0"
            ),
        ]
        | None
    ) = None
    """Image in place of Mooring's own; it must speak to the same variables, ports and probes."""
    variant: Variant | None = None
    """Variant of Mooring's image; follows from the format and the accelerator when left out."""
    args: Annotated[list[Annotated[str, Field(max_length=1024)]], Field(max_length=64)] | None = None
    """Further arguments of the server."""
    env: Annotated[list[EnvVar], Field(max_length=64), ListMap("name")] | None = None
    """Further environment variables of the server."""
    workers: Annotated[Int, Field(ge=1, le=64)] | None = None
    """Server processes of one replica, each with the model in memory of its own."""
    queue: Annotated[Int, Field(ge=1, le=1_000_000)] | None = None
    """Most requests of one replica, in flight and queued; further ones get 503."""
    allow_unsafe_formats: Bool = False
    """Allow formats that run code on load (torchscript, torch-export, python)."""

    RULES = (
        Rule(
            "!(has(self.image) && has(self.variant))",
            "set image or variant, not both: variant chooses among Mooring's own images",
            lambda runtime: runtime.image is None or runtime.variant is None,
            ".variant",
        ),
    )
