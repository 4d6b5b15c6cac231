"""What a server says of its sessions: before its models are loaded, and on its page of metrics."""

import asyncio
from types import SimpleNamespace
from typing import Any, cast

import numpy as np

from mooring_runtime.messages import Tensor
from mooring_runtime.metrics import MetricsPage
from mooring_runtime.repository import Repository
from mooring_runtime.server.sessions import SessionService
from mooring_runtime.sessions.copies import Copy, Kept, Phase
from mooring_runtime.sessions.keys import Key
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


async def test_the_page_looks_at_the_volume_and_at_the_memory() -> None:
    page, store = MetricsPage(), MemoryStore(Disk(), limit=1000)
    table = Table(store, 2**20, page.sessions)
    service = SessionService(ServeSettings(), cast(Any, SimpleNamespace()), cast(Any, Manager()), page)
    service._show(cast(Any, store), table)
    stats = page.sessions
    assert stats is not None
    async with table.turn(Key("m", "s")) as entry:
        state = (Tensor("h", "FP32", np.zeros((1, 25), np.float32)),)
        kept = Kept(Copy(Phase.HELD, 1, 7, 1, size=100), state)
        await table.write_all([(entry, kept)])
        assert stats.unsynced() == 0.0
        table.write(entry, kept, lambda error: None, lazy=True)
        await asyncio.sleep(0)
        assert stats.unsynced() > 0.0
        store.flush()
        await asyncio.sleep(0)
    assert stats.sessions() == {("m", "active"): 1}
    assert stats.tiers() == {"memory": 100, "disk": 100}
    assert stats.volume() == {"limit": 1000, "free": 900}
    table.quarantined[Key("m", "t")] = "torn"
    assert stats.quarantined() == 1
    table.close()
