"""What happened to models as a whole: loads, how long the last took, and where each runs."""

from collections import Counter
from typing import NamedTuple


class Loaded(NamedTuple):
    """A model that is loaded."""

    device: str
    format: str
    seconds: float
    """Of its last load, warm-up included."""


class Loads:
    """Told by whoever loads models; called on the event loop."""

    def __init__(self) -> None:
        self.ended: dict[str, Counter[str]] = {}
        """Loads by model, then outcome."""
        self.now: dict[tuple[str, str], Loaded] = {}
        """By model and version."""

    def loaded(self, model: str, version: str, fact: Loaded) -> None:
        """A load has succeeded; it may be one in place of a model that is loaded already."""
        self._count(model)["success"] += 1
        self.now[model, version] = fact

    def failed(self, model: str) -> None:
        """A load has failed; what was loaded before stays."""
        self._count(model)["failure"] += 1

    def unloaded(self, model: str, version: str) -> None:
        """A model is no longer loaded."""
        self.now.pop((model, version), None)

    def _count(self, model: str) -> Counter[str]:
        return self.ended.setdefault(model, Counter({"success": 0, "failure": 0}))
