"""Telling models of sessions that have ended."""

import threading
from collections.abc import Sequence

import numpy as np
import pytest

from mooring_runtime.dataplane import endings
from mooring_runtime.dataplane.endings import Endings
from mooring_runtime.messages import Tensor
from mooring_runtime.sessions.copies import Copy, Kept, Phase
from tests.support.session_plane import MODEL, SessionPlane, schema


async def test_a_model_that_hangs_when_it_is_told_does_not_fill_the_memory(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(endings, "MOST_BYTES", 10_000)
    served, gate, told = SessionPlane(), threading.Event(), list[str]()

    def hangs(session: str, state: Sequence[Tensor], cause: str) -> None:
        assert gate.wait(1)
        told.append(session)

    model = served.repository.find(MODEL, None)
    assert model.stateful is not None
    model.stateful.session_ended = hangs
    telling = Endings(served.repository)
    hook = telling.hook()
    assert hook is not None
    copy = Copy(Phase.HELD, 1, fingerprint=schema().fingerprint)
    state = (Tensor("h_in", "FP32", np.zeros((1, 500), np.float32)),)
    for session in "abcdef":
        hook(served.key(session), Kept(copy, state), "ended")
    gate.set()
    telling.close()
    assert told == ["a", "b", "c"]
    assert caplog.text.count("too slow") == 1
