"""Versions that are not to be served any more, and stay for sessions."""

import asyncio
from pathlib import Path

import pytest

from mooring_runtime.backends.base import loader
from mooring_runtime.repository import Model, State
from tests.support.repositories import Managed, scaled


class Pinned(Managed):
    """Sessions need the versions in `pinned`."""

    def __init__(self, root: Path, **settings: str) -> None:
        super().__init__(root, loader, **settings)
        self.folder = root / "m"
        self.pinned = {"1"}
        self.manager.needed = self._needed

    def _needed(self, model: Model) -> bool:
        return model.version in self.pinned

    async def roll_back(self) -> None:
        """Serve version 1 alone again, where version 2 is loaded and sessions need it."""
        self.pinned = {"2"}
        await self.manager.load("m")
        (self.folder / "mooring.json").write_text('{"versions": {"specific": [1]}}')
        await self.manager.load("m")

    async def leaves_at_its_deadline(self, version: str) -> None:
        """Assert that a version which sessions need stays until then, and no longer."""
        model = self.repository.find("m", version)
        assert model.retired_at is not None
        model.retired_at -= self.settings.version_deadline - 1
        self.manager.release()
        assert model.state is State.READY
        model.retired_at -= 2
        await self.released(version)

    async def released(self, version: str) -> None:
        """Return when a version has left."""
        self.manager.release()
        for _ in range(500):
            if f"m/{version}" not in self.states():
                return
            await asyncio.sleep(0.001)
        raise AssertionError(f"{self.states()}")


async def pinned(root: Path, **settings: str) -> Pinned:
    """Version 1 is loaded, and version 2 has come since."""
    found = Pinned(root, **settings)
    scaled(found.folder / "1" / "model.onnx", 1)
    await found.manager.start()
    scaled(found.folder / "2" / "model.onnx", 2)
    return found


@pytest.fixture
async def managed(tmp_path: Path) -> Pinned:
    """See `pinned`."""
    return await pinned(tmp_path)


async def test_a_version_that_sessions_need_stays_and_answers_nobody_else(managed: Pinned) -> None:
    await managed.manager.load("m")
    assert managed.states() == {"m/1": "READY", "m/2": "READY"}
    assert await managed.ask("m") == 2
    assert await managed.ask("m", "1") == 1
    managed.manager.release()
    assert managed.states()["m/1"] == "READY"
    managed.pinned.clear()
    await managed.released("1")
    assert await managed.ask("m") == 2
    managed.manager.close()


async def test_after_its_deadline_it_goes_all_the_same(managed: Pinned) -> None:
    await managed.manager.load("m")
    await managed.leaves_at_its_deadline("1")
    managed.manager.close()


async def test_without_a_deadline_it_stays_for_as_long_as_sessions_need_it(tmp_path: Path) -> None:
    managed = await pinned(tmp_path, VERSION_DEADLINE="0")
    await managed.manager.load("m")
    model = managed.repository.find("m", "1")
    assert model.retired_at is not None
    model.retired_at -= 1e9
    managed.manager.release()
    assert model.state is State.READY
    managed.pinned.clear()
    await managed.released("1")
    managed.manager.close()


async def test_after_a_roll_back_the_newer_version_has_a_deadline_too(managed: Pinned) -> None:
    await managed.roll_back()
    assert managed.repository.find("m", "1").retired_at is None
    await managed.leaves_at_its_deadline("2")
    assert await managed.ask("m") == 1
    managed.manager.close()


async def test_a_version_that_is_to_be_served_again_is_one_like_others(tmp_path: Path, managed: Pinned) -> None:
    await managed.manager.load("m")
    (tmp_path / "m" / "mooring.json").write_text('{"versions": "all"}')
    await managed.manager.load("m")
    assert managed.repository.find("m", "1").retired_at is None
    managed.pinned.clear()
    managed.manager.release()
    assert managed.states() == {"m/1": "READY", "m/2": "READY"}
    managed.manager.close()


async def test_one_that_nobody_needs_goes_at_once(managed: Pinned) -> None:
    managed.pinned.clear()
    await managed.manager.load("m")
    await managed.released("1")
    managed.manager.close()


async def test_a_roll_back_answers_again_while_the_newer_version_stays(managed: Pinned) -> None:
    await managed.roll_back()
    assert await managed.ask("m") == 1
    assert await managed.ask("m", "2") == 2
    managed.manager.close()


async def test_a_version_is_brought_back_for_sessions(
    tmp_path: Path, managed: Pinned, caplog: pytest.LogCaptureFixture
) -> None:
    again = Pinned(tmp_path)
    await again.manager.start()
    assert again.states() == {"m/2": "READY"}
    await again.manager.bring_back("m", "1")
    assert await again.ask("m") == 2
    assert await again.ask("m", "1") == 1
    await again.manager.bring_back("m", "7")
    assert "need its version 7" in caplog.text
    again.pinned.clear()
    await again.released("1")
    for each in (managed, again):
        each.manager.close()
