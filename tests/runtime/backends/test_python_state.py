"""Python classes with state."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from mooring_runtime.backends.base import Backend, LoadOptions, loader
from mooring_runtime.errors import InferenceFailed, ModelInvalid
from mooring_runtime.messages import Array, Tensor
from mooring_runtime.repository.state_config import UNSAID, StateConfig
from mooring_runtime.repository.state_loading import with_state
from mooring_runtime.repository.stateful import Stateful

COUNTER = """
import numpy as np

class Model:
    inputs = {"x": ("FP32", [-1, 2])}
    outputs = {"sum": ("FP32", [-1, 2])}
    state = {"total": ("FP32", [-1, 2]), "steps": ("INT64", [-1, 1])}
    batch = True

    def predict(self, inputs, state):
        state["total"] += inputs["x"]
        state["steps"] += 1
        return {"sum": state["total"]}, state
"""


def loaded(directory: Path, code: str, said: StateConfig | None = UNSAID, *, sessions: bool = True) -> Backend:
    file = directory / "model.py"
    file.write_text(code)
    options = LoadOptions("m", "1", 1, allow_unsafe=True, sessions=sessions)
    return with_state(loader("python")(file, options), said, directory, options, loader)


def stateful(directory: Path, code: str) -> Stateful:
    backend = loaded(directory, code)
    assert isinstance(backend, Stateful)
    return backend


def firsts(backend: Stateful) -> dict[str, Array]:
    return {pair.name: pair.first(np.dtype(np.float32)) for pair in backend.schema.pairs}


def test_state_comes_and_goes_by_name(tmp_path: Path) -> None:
    backend = stateful(tmp_path, COUNTER)
    assert (list(backend.metadata.inputs), backend.metadata.output_names) == (["x"], ("sum",))
    assert [(pair.name, pair.shape, pair.axis) for pair in backend.schema.pairs] == [
        ("steps", (1, 1), 0),
        ("total", (1, 2), 0),
    ]
    assert backend.metadata.max_batch == 32
    left = {"total": np.array([[1, 2], [3, 4]], np.float32), "steps": np.array([[1], [7]])}
    feeds = {"x": np.array([[10, 10], [20, 20]], np.float32), **left}
    total, steps, told = backend.infer(feeds, ("total", "steps", "sum"))
    assert total.tolist() == told.tolist() == [[11, 12], [23, 24]]
    assert steps.tolist() == [[2], [8]]
    # The class writes into what it was given; what the last step left must stay if the run fails after all.
    assert (left["total"].tolist(), left["steps"].tolist()) == ([[1, 2], [3, 4]], [[1], [7]])


def test_one_session_at_a_time_without_batch(tmp_path: Path) -> None:
    code = """
class Model:
    inputs = {"word": ("BYTES", [1])}
    outputs = {"text": ("BYTES", [1])}
    state = {"said": ("BYTES", [-1])}

    def predict(self, inputs, state, parameters):
        import numpy as np
        said = np.concatenate([state["said"], inputs["word"]])
        join = str(parameters.get("join", " ")).encode()
        return {"text": np.array([join.join(said)], dtype=object)}, {"said": said}
"""
    backend = stateful(tmp_path, code)
    assert backend.metadata.takes_parameters
    [pair] = backend.schema.pairs
    assert (pair.shape, pair.axis, backend.metadata.max_batch) == ((-1,), None, 0)
    said = pair.first(np.dtype(object))
    assert said.tolist() == []
    for word, text in ((b"a", b"a"), (b"b", b"a b")):
        told, said = backend.infer({"word": np.array([word], dtype=object), "said": said}, ("text", "said"))
        assert told.tolist() == [text]
    feeds = {"word": np.array([b"c"], dtype=object), "said": said}
    [(told, said)] = backend.stream(feeds, ("text", "said"), {"join": "-"})
    assert (told.tolist(), said.tolist()) == ([b"a-b-c"], [b"a", b"b", b"c"])


def test_its_own_first_state(tmp_path: Path) -> None:
    code = COUNTER + (
        "    def initial_state(self):\n"
        "        return {'total': np.full((1, 2), 5, np.float32), 'steps': np.array([[3]])}\n"
    )
    steps, total = (pair.initial for pair in stateful(tmp_path, code).schema.pairs)
    assert steps is not None
    assert total is not None
    assert (steps.tolist(), total.tolist()) == ([[3]], [[5, 5]])
    assert not total.flags.writeable


@pytest.mark.parametrize(
    ("returned", "words"),
    [
        ("None", "Model.initial_state gave NoneType: it must return a dict with total, steps"),
        ("{'total': 1}", "Model.initial_state gave ['total']: it must return a dict with total, steps"),
        (
            "{'total': np.zeros((2,), np.float32), 'steps': np.zeros((1, 1), int)}",
            "Model.initial_state gave 'total' as float32 [2]: of one session it is FP32 [1, 2]",
        ),
        ("1 / 0", "model.py: Model.initial_state() raised ZeroDivisionError: division by zero"),
    ],
)
def test_a_first_state_that_is_none_is_told(tmp_path: Path, returned: str, words: str) -> None:
    with pytest.raises(ModelInvalid, match=re.escape(words)):
        loaded(tmp_path, COUNTER + f"    def initial_state(self):\n        return {returned}\n")


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        (
            "(self, inputs, state)",
            "(self, inputs)",
            "Model.predict takes ['self', 'inputs']: write `def predict(self, inputs, state):`, or `def predict(self, "
            "inputs, state, parameters):` to be given the client's parameters",
        ),
        ('"steps": ("INT64", [-1, 1])', '"x": ("INT64", [-1, 1])', "Model: 'x' stands in state and in inputs"),
        ('"steps": ("INT64", [-1, 1])', '"sum": ("INT64", [-1, 1])', "Model: 'sum' stands in state and in outputs"),
        ('"steps": ("INT64", [-1, 1])', '"steps": ("INT64", [1])', "Model.batch is True, but 'steps' has shape [1]"),
        ('"steps": ("INT64", [-1, 1])', '"steps": 3', "Model.state is {'steps': 3}: it must be a dict of name to"),
        ("        return {", "        yield {", "Model: batch is True, but its predict yields answers of one request"),
    ],
)
def test_what_is_wrong_with_a_class_is_told(tmp_path: Path, old: str, new: str, words: str) -> None:
    assert old in COUNTER
    with pytest.raises(ModelInvalid, match=re.escape(words)):
        loaded(tmp_path, COUNTER.replace(old, new))


@pytest.mark.parametrize(
    ("returned", "words"),
    [
        (
            "{'sum': state['total']}",
            "predict gave a dict: with state it must return two dicts of arrays, return {...}, {",
        ),
        ("None", "predict gave nothing: with state it must return two dicts"),
        ("{**state, 'sum': state['total']}, {}", "predict gave 'total', 'steps' among the outputs, which is state"),
        ("{'sum': state['total']}, {'total': state['total']}", "predict did not give 'steps'"),
        ("{'sum': state['total']}, {'totals': 1}", "predict gave 'totals' as state, which the model does not declare"),
        (
            "{'sum': state['total']}, {**state, 'steps': state['total']}",
            "predict gave output 'steps' as float32: it is declared as INT64",
        ),
    ],
)
def test_what_is_wrong_with_an_answer_is_told(tmp_path: Path, returned: str, words: str) -> None:
    backend = stateful(tmp_path, COUNTER.replace('{"sum": state["total"]}, state', returned))
    feeds: dict[str, Array] = {
        "x": np.ones((1, 2), np.float32),
        "total": np.ones((1, 2), np.float32),
        "steps": np.ones((1, 1), np.int64),
    }
    with pytest.raises(InferenceFailed, match=re.escape(words)):
        backend.infer(feeds, ("sum", "steps", "total"))


@pytest.fixture
def told(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path / "told.json"


def test_it_is_told_of_the_end(tmp_path: Path, told: Path, caplog: pytest.LogCaptureFixture) -> None:
    code = COUNTER + (
        "    def end(self, session, state, cause):\n"
        "        import json, pathlib\n"
        "        if cause == 'evicted':\n"
        "            raise ValueError('no')\n"
        f"        found = [session, {{name: each.tolist() for name, each in state.items()}}, cause]\n"
        f"        pathlib.Path({str(told)!r}).write_text(json.dumps(found))\n"
    )
    backend = stateful(tmp_path, code)
    assert backend.session_ended is not None
    state = (Tensor("steps", "INT64", np.array([[3]])), Tensor("total", "FP32", np.array([[1, 2]], np.float32)))
    backend.session_ended("a", state, "expired")
    assert json.loads(told.read_text()) == ["a", {"steps": [[3]], "total": [[1.0, 2.0]]}, "expired"]
    backend.session_ended("b", state, "evicted")
    assert "model 'm' was told of the end of a session: model 'm' failed: ValueError: no" in caplog.text
    backend.close()
    backend.session_ended("c", state, "ended")  # An end that came too late for a model that is gone.
    assert json.loads(told.read_text())[0] == "a"


def test_without_an_end_nobody_is_told(tmp_path: Path) -> None:
    assert stateful(tmp_path, COUNTER).session_ended is None


def test_a_declared_state_needs_a_place(tmp_path: Path) -> None:
    words = "model 'm': its class declares a state, and MOORING_SESSION_PATH is not set"
    with pytest.raises(ModelInvalid, match=words):
        loaded(tmp_path, COUNTER, sessions=False)
    with pytest.raises(ModelInvalid, match=r'its class declares a state, and mooring.json has "state": false'):
        loaded(tmp_path, COUNTER, None)


def test_a_class_may_have_something_else_named_state(tmp_path: Path) -> None:
    code = COUNTER.replace('state = {"total": ("FP32", [-1, 2]), "steps": ("INT64", [-1, 1])}', "state = None")
    code = code.replace("(self, inputs, state)", "(self, inputs)")
    assert not isinstance(loaded(tmp_path, code), Stateful)
