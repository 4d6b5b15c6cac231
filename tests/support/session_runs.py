"""Steps whose models run on their thread, and states that are converted, for tests of steps."""

import threading

import numpy as np

from mooring_runtime.errors import InferenceFailed
from mooring_runtime.messages import StateSchema
from mooring_runtime.repository.converter import StateConverter
from mooring_runtime.scheduling import Batcher, RunTimes
from tests.support.session_plane import MODEL, SessionPlane


class Apart(RunTimes):
    """Every run is for the thread."""

    def inline(self, size: int) -> bool:
        return False


def on_thread(served: SessionPlane) -> None:
    """Let runs be on the model's thread, held back by its gate."""
    model = served.repository.find(MODEL, "1")
    served.adder.gate = threading.Semaphore(0)
    assert model.stateful is not None
    model._batcher = Batcher(model.stateful, model.metadata, model.stats, times=Apart())


def doubling(kept: StateSchema, *, fails: bool = False) -> StateConverter:
    """The old sum, doubled."""

    def convert(state: object, version: str) -> dict[str, np.ndarray]:
        assert isinstance(state, dict)
        if fails:
            raise InferenceFailed("no way")
        old = state["h_in"]
        return {"h_in": np.concatenate([old * 2, np.zeros((1, 1), np.float32)], axis=1)}

    return StateConverter(kept, convert)
