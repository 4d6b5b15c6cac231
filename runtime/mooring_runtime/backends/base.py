"""The seam between the server and the frameworks: what a backend must be, and how one is loaded.

A backend is a module of this package with a function `load` of the type `Load`. To add one, write that module, name its
format in `settings.FORMATS` and its file suffix in `repository.files`, and give it an extra in `pyproject.toml`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Protocol, cast

from mooring_runtime.errors import ModelInvalid
from mooring_runtime.messages import Array, ModelMetadata

MODULES: Mapping[str, str] = {"onnx": "mooring_runtime.backends.onnx"}
"""Module of each format."""


@dataclass(frozen=True, slots=True)
class LoadOptions:
    """How a model is to be loaded, from the settings."""

    name: str
    version: str
    threads: int
    """Threads of one run on a CPU."""
    accelerator: bool = True
    """Whether a GPU may be used; `check` runs where there is none."""


class Backend(Protocol):
    """A loaded model."""

    @property
    def metadata(self) -> ModelMetadata:
        """Name, platform and tensors."""

    @property
    def device(self) -> str:
        """Where it really runs, for the log: a silent fall-back to a CPU must be seen."""

    def infer(self, inputs: Mapping[str, Array], outputs: Sequence[str]) -> list[Array]:
        """Run once. Inputs are by name and complete, in the dtypes of their datatypes; outputs come in the order named.

        Called by one thread at a time, without the interpreter's lock for as long as the framework can.
        Raises ModelRefused when the tensors are at fault, InferenceFailed when the model is.
        """


class Load(Protocol):
    """`load` of a backend's module."""

    def __call__(self, file: Path, options: LoadOptions) -> Backend:
        """Load the model in `file`. Raises ModelInvalid with the framework's own words."""


def loader(model_format: str) -> Load:
    """The `load` of a format. Raises ModelInvalid where this build lacks its framework."""
    try:
        module = import_module(MODULES[model_format])
    except ModuleNotFoundError as error:
        raise ModelInvalid(
            f"this image cannot serve the format {model_format}: its Python has no module {error.name}; "
            f"take the image variant for {model_format}"
        ) from error
    return cast(Load, module.load)
