"""Sessions whose states stay beside their model: everything that sends one back, or gives it to another."""

import pytest

from mooring_runtime.errors import RequestError
from mooring_runtime.sessions.store import StoreFailed
from tests.support.arenas import Counted, fail_there
from tests.support.session_plane import MODEL, SessionPlane, schema
from tests.support.session_runs import doubling


@pytest.fixture
def served() -> SessionPlane:
    return SessionPlane(room=10_000)


def counted(served: SessionPlane, version: str = "1") -> Counted:
    model = served.repository.find(MODEL, version)
    assert model.stateful is not None
    return Counted(model.stateful)


async def test_a_step_finds_what_the_last_one_left(served: SessionPlane) -> None:
    seen = counted(served)
    assert [await served.sum("a", start=turn == 0) for turn in range(4)] == [1, 2, 3, 4]
    assert seen.told() == (3, 1)


async def test_a_commit_that_fails_goes_back_to_the_state_before_it(served: SessionPlane) -> None:
    seen = counted(served)
    assert await served.sum("a", 1, start=True) == 1
    served.store.fail(StoreFailed("failed"))
    with pytest.raises(RequestError):
        await served.sum("a", 10)
    assert await served.sum("a", 100) == 101
    assert seen.told() == (2, 1), "both steps began with the first one's state"


async def test_a_run_that_fails_goes_back_too(served: SessionPlane) -> None:
    assert await served.sum("a", 1, start=True) == 1
    with pytest.raises(RequestError):
        await served.sum("a", float("nan"))
    assert await served.sum("a", 100) == 101


async def test_a_crash_leaves_nothing_behind(served: SessionPlane) -> None:
    await served.sum("a", 1, start=True)
    served.store.crash()
    again = SessionPlane(served.disk, room=10_000)
    seen = counted(again)
    assert await again.sum("a", 1) == 2
    assert seen.told() == (0, 1)


async def test_a_session_that_starts_anew_does_not_find_its_old_state(served: SessionPlane) -> None:
    assert await served.sum("a", 5, start=True) == 5
    assert await served.sum("a", 1, start=True) == 1
    assert await served.sum("a", 1) == 2


async def test_another_version_has_images_of_its_own(served: SessionPlane) -> None:
    assert await served.sum("a", 1, start=True) == 1
    served.load("2", schema())
    seen = counted(served, "2")
    assert [await served.sum("a", 1) for _ in range(2)] == [2, 3]
    assert seen.told() == (1, 1)


async def test_a_converted_state_is_sent(served: SessionPlane) -> None:
    assert await served.sum("a", 2, start=True) == 2
    wider = schema(3)
    served.load("2", wider, doubling(wider))
    seen = counted(served, "2")
    assert [await served.sum("a", 1) for _ in range(2)] == [5, 6]
    assert seen.told() == (1, 1)


async def test_a_model_gives_its_memory_back_at_its_end(served: SessionPlane) -> None:
    await served.sum("a", start=True)
    model = served.repository.find(MODEL, None)
    assert model.stateful is not None
    assert model.stateful.arena is not None
    arena = model.stateful.arena.arena
    assert arena.size > 0
    assert model.stats.state_bytes is not None
    assert model.stats.state_bytes() == arena.size
    assert model.stats.state_rows == {"device": 0, "host": 1}
    await model.retire()
    assert model.stats.state_bytes() == arena.size == 0


async def test_a_fault_of_the_device_loses_no_step_and_is_told(served: SessionPlane) -> None:
    model = served.repository.find(MODEL, None)
    assert model.stateful is not None
    assert await served.sum("a", 1, start=True) == 1
    fail_there(model.stateful, "lost")
    assert await served.sum("a", 10) == 11
    assert await served.sum("a", 100) == 111
    assert (model.stateful.arena, model.memory) == (None, 0)
    assert model.stats.state_bytes is not None
    assert model.stats.state_bytes() == 0
    served.store.crash()
    assert await SessionPlane(served.disk, room=10_000).sum("a", 1000) == 1111
