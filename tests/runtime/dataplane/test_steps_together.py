"""Steps of one run: none suffers from another."""

import logging

import pytest

from mooring_runtime.dataplane.observer import Observer, Watch
from mooring_runtime.dataplane.steps import Step
from mooring_runtime.messages import SessionCall
from mooring_runtime.scheduling import Run
from tests.support.session_plane import SessionPlane, summed


class Broken(Observer):
    """Cannot be told of an end."""

    def __init__(self) -> None:
        """Watches nothing by itself."""

    def ended(self, watch: Watch, version: str, request_id: str | None, run: Run | None) -> None:
        """Raise."""
        raise ValueError("broken")


@pytest.mark.parametrize("call", [SessionCall("b"), SessionCall("b", step=2)])
async def test_a_step_that_cannot_even_be_failed_does_not_keep_the_others_from_their_commit(
    call: SessionCall, caplog: pytest.LogCaptureFixture
) -> None:
    served = SessionPlane()
    for session in "abc":
        await served.step(session, 1, start=True)
    asked = [served.begin(each, 2) for each in (SessionCall("a"), call, SessionCall("c"))]
    step = asked[1].ticket
    assert isinstance(step, Step)
    step.watch, served.plane.observer = Watch(), Broken()  # Who tells it that it has failed.
    step.own_outputs = 9  # Of which the run gives one.
    step.outputs = (*step.outputs, "more")
    with caplog.at_level(logging.CRITICAL):
        assert [summed(await each.outcome()) for each in (asked[0], asked[2])] == [3, 3]
    served.plane.observer = None
    assert served.adder.runs[-1] == 3
    assert await served.sum("a", 1) == 4
