"""What was applied is told whether or not the model serves now; what was not says when to come again."""

import pytest

from mooring_runtime.errors import ModelNotReady
from mooring_runtime.messages import SessionCall
from mooring_runtime.repository import State
from mooring_runtime.sessions.budget import Limits
from tests.support.other_replicas import HERE, THERE, member, named
from tests.support.session_plane import MODEL, SessionPlane, cause, summed, told


def unload(served: SessionPlane, *, gone: bool) -> None:
    """Let the model serve no more; `gone`: as after a client has unloaded it, else as while it is loaded again."""
    model = served.repository.find(MODEL, "1")
    model._batcher, model.state = None, State.UNAVAILABLE
    if gone:
        served.repository.entry(MODEL).reason = "unloaded"
        served.repository.remove(model)


@pytest.mark.parametrize("gone", [False, True])
async def test_a_repeat_is_answered_by_what_is_stored(gone: bool) -> None:
    served = SessionPlane()
    await served.step("s", 1, start=True, step=1)
    await served.step("s", 2, step=2)
    unload(served, gone=gone)
    for number, value, start in ((1, 1, True), (1, 1, False), (2, 2, False)):
        again = await served.step("s", value, step=number, start=start)
        assert (summed(again), told(again).repeat) == (number * (number + 1) / 2, True)
    assert cause(await served.step("s", 9, step=2)) == ("mismatch", "no")
    assert served.plane.pending == 0


@pytest.mark.parametrize("gone", [False, True])
@pytest.mark.parametrize(
    "call",
    [
        SessionCall("s", step=3),
        SessionCall("s"),
        SessionCall("", new=True),
        SessionCall("other", start=True, step=1),
        SessionCall("other", start=True),
    ],
)
async def test_a_step_that_was_not_applied_is_told_when_to_come_again(gone: bool, call: SessionCall) -> None:
    served = SessionPlane(limits=Limits(sessions=1, evict=True))
    await served.step("s", 1, start=True, step=1)
    await served.step("s", 2, step=2)
    unload(served, gone=gone)
    error = await served.begin(call, 3).outcome()
    assert isinstance(error, ModelNotReady)
    assert error.applied == "no"
    assert len(served.table.idle) == 1, "nothing was evicted for it"
    assert served.plane.pending == 0


async def test_the_steps_of_a_session_that_another_replica_has_go_there() -> None:
    served, others = member()
    unload(served, gone=False)
    assert summed(await served.step(named(THERE), 1, step=4)) == 100
    assert [ordinal for ordinal, _ in others.passed] == [THERE]
    assert isinstance(await served.step(named(HERE), 1, step=1, start=True), ModelNotReady)


async def test_a_version_that_was_not_the_one_is_unknown_as_before() -> None:
    served = SessionPlane()
    await served.step("s", 1, start=True, step=1)
    unload(served, gone=True)
    error = await served.begin(SessionCall("s", step=1), 1, version="7").outcome()
    assert isinstance(error, ModelNotReady)
