"""Steps with large inputs: their digests are found out on a thread, in their sessions' turns."""

import threading

import numpy as np
import pytest

from mooring_runtime.dataplane import large_steps
from mooring_runtime.messages import Array, Fitted, InferRequest, SessionCall, Tensor
from mooring_runtime.sessions import steps
from tests.support.session_plane import SessionPlane, cause, settle, summed, told


class Held:
    """A plane whose thread for digests waits until it is let go; every step is large, but while `small`."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.monkeypatch = monkeypatch
        self.served = SessionPlane()
        self.gate = threading.Event()
        self.served.sessions.apart.submit(self.gate.wait, 5)
        self.large()

    def large(self) -> None:
        self.monkeypatch.setattr(large_steps, "LARGE", 0)

    def small(self) -> None:
        self.monkeypatch.setattr(large_steps, "LARGE", 2**20)


async def test_a_large_step_is_overtaken_by_none_of_its_session_and_holds_up_no_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    held = Held(monkeypatch)
    served = held.served
    first = served.begin(SessionCall("s", start=True, step=1), 1)
    held.small()
    behind = served.begin(SessionCall("s", step=2), 10)
    assert await served.sum("other", 5, start=True) == 5
    assert (first.answers, behind.answers) == ([], [])
    held.gate.set()
    assert summed(await first.outcome()) == 1
    assert summed(await behind.outcome()) == 11


async def test_a_large_step_is_known_again(monkeypatch: pytest.MonkeyPatch) -> None:
    held = Held(monkeypatch)
    held.gate.set()
    assert await held.served.sum("s", 3, start=True, step=1) == 3
    assert told(await held.served.step("s", 3, start=True, step=1)).repeat
    held.small()
    assert told(await held.served.step("s", 3, step=1)).repeat
    held.large()
    assert cause(await held.served.step("s", 4, step=1)) == ("mismatch", "no")
    assert held.served.adder.runs == [1]


async def test_a_client_that_hangs_up_meanwhile_takes_its_step_back(monkeypatch: pytest.MonkeyPatch) -> None:
    held = Held(monkeypatch)
    asked = held.served.begin(SessionCall("s", start=True), 3)
    assert asked.ticket is not None
    asked.ticket.cancel()
    held.gate.set()
    assert cause(await asked.outcome())[1] == "no"
    held.small()
    assert await held.served.sum("s", 1, start=True) == 1
    assert held.served.adder.runs == [1]


async def test_inputs_without_a_digest_are_refused_and_the_session_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    held = Held(monkeypatch)
    held.gate.set()

    def broken(_: object) -> bytes:
        raise ValueError("no")

    with monkeypatch.context() as patch:
        patch.setattr(steps, "digest_of", broken)
        error = await held.served.step("s", 3, start=True)
    assert "have no digest: ValueError: no" in str(error)
    assert await held.served.sum("s", 1, start=True) == 1
    await settle()
    assert held.served.plane.pending == 0


@pytest.mark.parametrize(
    ("arrays", "expected"),
    [
        ([np.zeros(2**18, np.float32)], False),
        ([np.zeros(2**18 + 1, np.float32)], True),
        ([np.zeros(2**17, np.float32), np.zeros(2**17 + 1, np.float32)], True),
        ([np.array([b"x" * 2**20], object)], True),
        ([np.array([b"x" * 1000], object)], False),
    ],
)
def test_which_inputs_are_large(arrays: list[Array], expected: bool) -> None:
    feeds = {str(at): array for at, array in enumerate(arrays)}
    request = InferRequest(tuple([Tensor(name, "X", array) for name, array in feeds.items()]))
    assert large_steps.is_large(request) is expected
    assert large_steps.is_large(Fitted(feeds, (), 0, 1, None)) is expected
