"""Steps whose answers go before their commits."""

from mooring_runtime.messages import SessionCall
from mooring_runtime.sessions.budget import Limits
from mooring_runtime.sessions.store import StoreFull
from tests.support.memory_store import Disk
from tests.support.session_plane import SessionPlane, cause, settle, told
from tests.support.session_runs import on_thread


async def test_in_interval_mode_answers_go_before_commits_and_say_so() -> None:
    served = SessionPlane(limits=Limits(lazy=True))
    assert told(await served.step("s", 1, start=True)).durable == 1, "a creation waits for its commit"
    for step in (2, 3):
        info = told(await served.step("s", 1))
        assert (info.step, info.durable) == (step, 1)
    served.store.flush()
    await settle()
    info = told(await served.step("s", 1, end=True))
    assert (info.step, info.durable) == (4, 4), "an end waits for its commit"


async def test_steps_that_a_crash_has_lost_are_told_of_once() -> None:
    disk = Disk()
    served = SessionPlane(disk, Limits(lazy=True))
    await served.step("s", 1, start=True)
    await served.step("n", 1, start=True)
    for session in "sn":
        assert await served.sum(session, 10) == 11
    served.store.crash()
    again = SessionPlane(disk, Limits(lazy=True), doubt=2**62)
    error = await again.step("s", 100)
    assert cause(error) == ("rewound", "no")
    assert (error.step, error.expected) == (1, 2)  # type: ignore[union-attr]
    assert await again.sum("s", 100) == 101
    gap = await again.step("n", 100, step=3)
    assert cause(gap) == ("gap", "no")
    assert await again.sum("n", 10, step=2) == 11
    assert await again.sum("n", 10) == 21


async def test_steps_that_a_failed_interval_has_lost_are_told_of() -> None:
    served = SessionPlane(limits=Limits(lazy=True))
    await served.step("s", 1, start=True)
    await served.step("s", 10)
    served.store.fail()
    served.store.flush()
    await settle()
    assert cause(await served.step("s", 100)) == ("rewound", "no")
    assert await served.sum("s", 100) == 101


async def test_a_run_that_stands_on_a_step_that_is_undone_is_undone_too_and_told_once() -> None:
    served = SessionPlane(limits=Limits(lazy=True))
    await served.step("s", 1, start=True)
    await served.step("s", 10)
    on_thread(served)
    assert served.adder.gate is not None
    running = served.begin(SessionCall("s"), 100)
    await settle()
    served.store.fail()
    served.store.flush()
    await settle()
    served.adder.gate.release(5)
    assert cause(await running.outcome()) == ("rewound", "no")
    assert await served.sum("s", 1000) == 1001


async def test_a_copy_that_must_tell_of_lost_steps_does_so_once_for_ever() -> None:
    disk = Disk()
    await SessionPlane(disk).step("s", 1, start=True)
    key = next(iter(disk.kept))
    disk.kept[key] = disk.kept[key]._replace(copy=disk.kept[key].copy._replace(rewound=True))
    assert cause(await SessionPlane(disk).step("s", 2)) == ("rewound", "no")
    assert await SessionPlane(disk).sum("s", 2) == 3


async def test_a_client_that_comes_back_late_is_told_of_lost_steps_after_any_number_of_starts() -> None:
    disk, now = Disk(), 1000
    served = SessionPlane(disk, Limits(lazy=True), now=lambda: now)
    for session in "st":
        await served.step(session, 1, start=True)
    served.store.crash()
    now, doubt = 3000, 2000
    again = SessionPlane(disk, Limits(lazy=True), now=lambda: now, doubt=doubt)
    assert cause(await again.step("s", 10)) == ("rewound", "no")
    again.store.close()
    last = SessionPlane(disk, Limits(lazy=True), now=lambda: now, doubt=doubt)
    assert await last.sum("s", 100) == 101, "it was told before"
    assert cause(await last.step("t", 100)) == ("rewound", "no")


async def test_while_commits_fail_no_answer_goes_before_its_own() -> None:
    """Else all steps of a full disk would be answered and undone, one interval after the other."""
    served = SessionPlane(limits=Limits(lazy=True))
    for session in "st":
        await served.step(session, 1, start=True)
    await served.step("s", 10)
    served.store.fail(StoreFull("full"))
    served.store.flush()
    await settle()
    served.store.fail(StoreFull("full"))
    assert cause(await served.step("t", 10)) == ("volume-full", "no")
    info = told(await served.step("t", 10))
    assert (info.step, info.durable) == (2, 2)
    info = told(await served.step("t", 10))
    assert (info.step, info.durable) == (3, 2), "commits do not fail any more"
