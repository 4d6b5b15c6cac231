"""What sessions of a real model give when they share runs: to the bit what each gives alone."""

from pathlib import Path

import numpy as np
import pytest

from mooring_runtime.backends.base import LoadOptions, loader
from mooring_runtime.messages import DATATYPES, Array, InferResponse, SessionCall
from mooring_runtime.repository import Model, ModelSource, load_backend
from mooring_runtime.repository.stateful import Stateful
from mooring_runtime.scheduling import RunTimes
from tests.support import state_models
from tests.support.session_plane import MODEL, SessionPlane, told

SESSIONS, STEPS = 10_000, 3


def layered(folder: Path) -> Stateful:
    """A model in ONNX whose states stand beside each other along their second axis, and which only adds: it rounds the
    same in a run of any size.
    """
    state_models.layered(folder / "model.onnx", size=1)
    options = LoadOptions(MODEL, "2", 1, accelerator=False, sessions=True)
    backend = load_backend(ModelSource(folder), options, loader, RunTimes()).backend
    assert isinstance(backend, Stateful)
    return backend


def alone(model: Stateful, values: Array) -> tuple[list[bytes], bytes]:
    """The answers of one session that shares no run, and its state after them."""
    [pair] = model.schema.pairs
    state = pair.first(DATATYPES[pair.datatype].dtype)
    answers = []
    for value in values:
        answer, state = model.infer({"x": value.reshape(1, 1), pair.name: state}, ("y", pair.output))
        answers.append(answer.tobytes())
    return answers, state.tobytes()


@pytest.mark.timeout(120)  # Some 5 s; others may want the machine, too.
async def test_interleaved_sessions_of_a_real_model_give_what_each_gives_alone(tmp_path: Path) -> None:
    random = np.random.default_rng(6)
    values = random.standard_normal((SESSIONS, STEPS)).astype(np.float32)
    together, backend = SessionPlane(), layered(tmp_path)
    model = Model(MODEL, together.page.add(MODEL, "2"), "2")
    model.serve(backend)
    together.repository.add(model)
    answers: list[list[bytes]] = [[] for _ in range(SESSIONS)]
    for number in range(STEPS):
        asked = [
            together.begin(SessionCall(str(session), start=number == 0), float(values[session, number]))
            for session in random.permutation(SESSIONS).tolist()
        ]
        for each in asked:
            outcome = await each.outcome()
            assert isinstance(outcome, InferResponse)
            answers[int(told(outcome).id)].append(outcome.outputs[0].array.tobytes())
    assert 0 < model.stats.executions < SESSIONS * STEPS / 2, "runs are shared"
    for session in range(SESSIONS):
        [state] = together.disk.kept[together.key(str(session))].state
        assert (answers[session], state.array.tobytes()) == alone(backend, values[session]), session
