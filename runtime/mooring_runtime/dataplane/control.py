"""The administration of models behind every protocol: index, load and unload, configuration, statistics."""

from collections.abc import Awaitable, Mapping
from typing import Any, Protocol

from mooring_runtime.errors import UnknownModel
from mooring_runtime.repository import IndexEntry, Manager, Model, Repository, State, triton_config

__all__ = ["Administration", "Control", "IndexEntry"]

Rows = list[dict[str, Any]]
"""Of V2's statistics."""


class Administration(Protocol):
    """What front ends know: `Control`, or that of several workers together, whose statistics are to be awaited."""

    def index(self, ready_only: bool) -> list[IndexEntry]:
        """See `Control`, as for all."""

    async def load(self, name: str, config: str | None = None, files: Mapping[str, bytes] | None = None) -> None:
        """Load or reload a model."""

    async def unload(self, name: str) -> None:
        """Take no more requests for a model."""

    def config(self, name: str, version: str | None) -> dict[str, Any]:
        """The configuration of a model."""

    def statistics(self, name: str | None, version: str | None) -> Rows | Awaitable[Rows]:
        """A row for each version that was loaded once."""

    def versions(self, name: str) -> list[str]:
        """The versions that can be asked."""


class Control:
    """What clients may ask about models, and let be done to them; on the event loop."""

    def __init__(self, repository: Repository, manager: Manager) -> None:
        self._repository = repository
        self._manager = manager

    def index(self, ready_only: bool) -> list[IndexEntry]:
        """A line for each version of each model, and one without a version for a model of which none is known."""
        entries = self._repository.index()
        return [entry for entry in entries if entry.state == State.READY.name] if ready_only else entries

    async def load(self, name: str, config: str | None = None, files: Mapping[str, bytes] | None = None) -> None:
        """Load or reload a model, and return when it serves; `config` is Triton's in JSON, `files` by VERSION/NAME.

        Raises ControlDisabled, NotInRepository, LoadFailed; what served before then serves on.
        """
        await self._manager.load(name, config, files)

    async def unload(self, name: str) -> None:
        """Take no more requests for a model. Raises ControlDisabled, UnknownModel."""
        await self._manager.unload(name)

    def config(self, name: str, version: str | None) -> dict[str, Any]:
        """The configuration of a model as Triton tells it. Raises UnknownModel, ModelNotReady."""
        model = self._repository.find(name, version)
        return triton_config.render(model.config, model.metadata, model.device)

    def statistics(self, name: str | None, version: str | None) -> Rows:
        """A row for each version that was loaded once: of one model, or of all. Raises UnknownModel, ModelNotReady."""
        if name is not None:
            model = self._repository.find(name, version)
            if version is not None:
                return [_row(model)]
        entries = [entry for entry in self._repository if name in (None, entry.name)]
        return [_row(model) for entry in entries for model in entry.versions.values() if model.known]

    def versions(self, name: str) -> list[str]:
        """The versions that can be asked, rising. Raises UnknownModel."""
        entry = self._repository.get(name)
        if entry is None:
            raise UnknownModel(f"unknown model '{name}'")
        return [version for version, model in entry.versions.items() if model.state is State.READY or model.known]


def _row(model: Model) -> dict[str, Any]:
    row = model.stats.row()
    if model.memory:
        kind, _, number = model.device.partition(":")
        place = {"type": "CPU" if kind.upper() == "CPU" else "GPU", "id": int(number or 0)}
        row["memory_usage"] = [{**place, "byte_size": model.memory}]
    return row
