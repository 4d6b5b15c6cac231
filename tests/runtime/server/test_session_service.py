"""What a server says of its sessions before its models are loaded."""

from types import SimpleNamespace
from typing import Any, cast

from mooring_runtime.metrics import MetricsPage
from mooring_runtime.repository import Repository
from mooring_runtime.server.sessions import SessionService
from mooring_runtime.sessions.table import Table
from mooring_runtime.settings import ServeSettings
from tests.support.memory_store import Disk, MemoryStore


class Manager:
    """Has no model, and keeps what it is asked to bring back."""

    def __init__(self) -> None:
        self.repository = Repository()
        self.asked: list[tuple[str, str]] = []

    async def bring_back(self, model: str, version: str) -> None:
        """Load a version that only sessions need."""
        self.asked.append((model, version))


async def test_no_session_is_unreadable_before_the_models_are_loaded() -> None:
    manager, plane = Manager(), SimpleNamespace(unopened=None)
    service = SessionService(ServeSettings(), cast(Any, plane), cast(Any, manager), MetricsPage())
    service._table = Table(MemoryStore(Disk()), 2**20)
    service._table.schemas[("m", "fingerprint", "3")] = 5
    assert service.unreadable() == 0
    await service.loaded()
    assert manager.asked == [("m", "3")]
    assert service.unreadable() == 5
    service._table.close()
