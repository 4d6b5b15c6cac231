"""Models with state, from their files to the runs of many sessions; by onnxruntime and by Python."""

import json
import logging
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from mooring_runtime.backends.base import Backend, loader
from mooring_runtime.errors import InferenceFailed, ModelInvalid, ModelRefused, UnsafeFormat
from mooring_runtime.messages import DATATYPES, Array, ModelMetadata, StatePair, StateSchema, Tensor, TensorSpec, Traits
from mooring_runtime.metrics import ModelStats
from mooring_runtime.repository import Model, ModelSource, load_backend, options_of
from mooring_runtime.repository import config as model_config
from mooring_runtime.repository.stateful import Stateful
from mooring_runtime.scheduling import RunTimes
from mooring_runtime.scheduling.runs import NotPerSample
from mooring_runtime.settings import ServeSettings, load
from tests.support import state_models

State = tuple[Array, ...]


def loaded(directory: Path, state: object = None, *, name: str = "m", **settings: str) -> Backend:
    """The model in the directory as a server with sessions loads it, warm; `state` is said in its mooring.json."""
    if state is not None:
        (directory / "mooring.json").write_text(json.dumps({"state": state}))
    given = {"MODEL_NAME": name, "MODEL_PATH": str(directory), "THREADS": "1", "SESSION_PATH": "/s", "STAND_ALONE": "1"}
    variables = {f"MOORING_{key}": text for key, text in {**given, **settings}.items() if text}
    chosen = load(ServeSettings, variables)
    source = ModelSource(directory, config=model_config.read(directory) or model_config.ModelConfig()).under(chosen)
    return load_backend(source, options_of(name, source, chosen, accelerator=False), loader, RunTimes()).backend


def stateful(directory: Path, state: object = None, **settings: str) -> Stateful:
    backend = loaded(directory, state, **settings)
    assert isinstance(backend, Stateful)
    return backend


def first(backend: Stateful) -> State:
    return tuple(pair.first(DATATYPES[pair.datatype].dtype) for pair in backend.schema.pairs)


class Stepped(NamedTuple):
    outputs: list[Array]
    state: State


def step(backend: Stateful, inputs: Mapping[str, Array], state: State) -> Stepped:
    names = backend.metadata.output_names
    feeds = {**inputs, **{pair.name: each for pair, each in zip(backend.schema.pairs, state, strict=True)}}
    results = backend.infer(feeds, (*names, *backend.schema.outputs))
    return Stepped(results[: len(names)], tuple(results[len(names) :]))


def x(*rows: Sequence[float]) -> dict[str, Array]:
    return {"x": np.array(rows, np.float32)}


def test_clients_see_no_state(tmp_path: Path) -> None:
    state_models.accumulator(tmp_path / "model.onnx")
    metadata = stateful(tmp_path).metadata
    assert (list(metadata.inputs), metadata.output_names) == (["x"], ("sum",))
    assert metadata.max_batch == 32
    assert list(metadata.askable) == ["sum", "state_out_sum"]
    assert metadata.state is not None
    assert [pair.name for pair in metadata.state.pairs] == ["state_in_sum"]


def test_without_a_place_for_sessions_clients_carry_the_state(tmp_path: Path) -> None:
    state_models.accumulator(tmp_path / "model.onnx")
    metadata = loaded(tmp_path, SESSION_PATH="", STAND_ALONE="").metadata
    assert (list(metadata.inputs), metadata.state) == (["x", "state_in_sum"], None)
    metadata = loaded(tmp_path, False).metadata
    assert (list(metadata.inputs), metadata.state) == (["x", "state_in_sum"], None)
    words = "model 'm': mooring.json declares a state, and MOORING_SESSION_PATH is not set: name the directory of a"
    with pytest.raises(ModelInvalid, match=re.escape(words)):
        loaded(tmp_path, {}, SESSION_PATH="", STAND_ALONE="")


def test_a_model_without_state_is_served_beside_those_with(tmp_path: Path) -> None:
    state_models.stream(tmp_path / "model.onnx")
    assert loaded(tmp_path).metadata.state is None
    # What the service says of a state is for the models that have one.
    assert loaded(tmp_path, STATE_VERSION="2", STATE_CONVERTER="convert.onnx").metadata.state is None


def test_the_log_tells_the_pairs(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    state_models.layered(tmp_path / "model.onnx")
    with caplog.at_level(logging.INFO):
        backend = stateful(tmp_path)
    words = f"has state {backend.schema.fingerprint}: h_in -> h_out (FP32 [1, 2, 3], sessions along axis 1)"
    assert words in caplog.text


def test_sessions_side_by_side_are_as_each_alone(tmp_path: Path) -> None:
    # Along axis 1 of the model: whoever joined along the first would mix the layers of different sessions.
    state_models.layered(tmp_path / "model.onnx", layers=2, size=3)
    backend = stateful(tmp_path)
    random = np.random.default_rng(0)
    sessions, steps = 5, 4
    sent = random.standard_normal((steps, sessions, 3)).astype(np.float32)
    together = tuple(np.repeat(each, sessions, axis=0) for each in first(backend))
    alone = [first(backend)] * sessions
    for rows in sent:
        joint = step(backend, {"x": rows}, together)
        together = joint.state
        for index in range(sessions):
            single = step(backend, {"x": rows[index : index + 1]}, alone[index])
            alone[index] = single.state
            assert single.state[0].shape == (1, 2, 3)
            np.testing.assert_array_equal(single.outputs[0], joint.outputs[0][index : index + 1])
            np.testing.assert_array_equal(single.state[0], together[0][index : index + 1])
    expected = np.zeros((2, sessions, 3), np.float32)
    for rows in sent:
        expected = rows + expected * np.array([1, 2], np.float32).reshape(2, 1, 1)
    np.testing.assert_allclose(np.moveaxis(together[0], 0, 1), expected, rtol=1e-5)


@pytest.mark.parametrize("declared", [False, True])
def test_pairs_that_sort_differently_are_not_crossed(tmp_path: Path, declared: bool) -> None:
    # As in Triton's open bug 8586: same shapes, and the outputs sort otherwise than the inputs that they belong to.
    pairs = {"h_in": "h_out", "past.10": "present.10", "past.9": "present.9", "c_in": "c_out", "state_in": "state_out"}
    if declared:
        pairs = {"a_taken": "z_given", "b_taken": "m_given", "c_taken": "a_given"}
    state_models.crossed(tmp_path / "model.onnx", pairs)
    said = {"pairs": [{"input": taken, "output": given} for taken, given in pairs.items()]}
    backend = stateful(tmp_path, said if declared else None)
    state = first(backend)
    for _ in range(3):
        state = step(backend, x([1]), state).state
    grown = {pair.name: float(each[0, 0]) for pair, each in zip(backend.schema.pairs, state, strict=True)}
    assert grown == {name: 3 * 10.0**index for index, name in enumerate(pairs)}


def test_a_cache_grows(tmp_path: Path) -> None:
    state_models.cache(tmp_path / "model.onnx")
    backend = stateful(tmp_path)
    assert backend.schema.grows
    state = first(backend)
    assert state[0].shape == (1, 2, 0, 3)
    for number in (1, 2, 3):
        token = np.full((1, 2, 1, 3), number, np.float32)
        outputs, state = step(backend, {"token": token}, state)
        assert state[0].shape == (1, 2, number, 3)
    assert outputs[0].ravel().tolist() == [6.0] * 6


def test_a_window_goes_before_what_is_sent(tmp_path: Path) -> None:
    state_models.stream(tmp_path / "model.onnx")
    backend = stateful(tmp_path, {"windows": [{"input": "samples", "keep": 3}]})
    assert backend.metadata.max_batch == 32
    state = first(backend)
    assert state[0].tolist() == [[0, 0, 0]]
    for sent, fed_first, kept in (
        ([1, 2], 0, [0, 1, 2]),  # Shorter than the window: a part of the old one stays.
        ([3, 4, 5, 6], 0, [4, 5, 6]),
        ([7], 4, [5, 6, 7]),
    ):
        outputs, state = step(backend, {"samples": np.array([sent], np.float32)}, state)
        assert outputs[0].tolist() == [[fed_first]]
        assert state[0].tolist() == [kept]
        assert state[0].base is None, "else all that was sent stays in memory"
    both = np.array([[1, 2], [3, 4]], np.float32)
    outputs, state = step(backend, {"samples": both}, (np.array([[7, 8, 9], [4, 5, 6]], np.float32),))
    assert outputs[0].tolist() == [[7], [4]]
    assert state[0].tolist() == [[9, 1, 2], [6, 3, 4]]
    with pytest.raises(
        ModelRefused, match=re.escape("input 'samples' has shape [2, 2]: what came before it is kept in")
    ):
        step(backend, {"samples": both}, first(backend))


def test_states_come_in_any_order_among_the_outputs(tmp_path: Path) -> None:
    state_models.stream(tmp_path / "model.onnx")
    backend = stateful(tmp_path, {"windows": [{"input": "samples", "keep": 1}]})
    feeds = {"samples": np.array([[5, 6]], np.float32), "samples.window": np.array([[4]], np.float32)}
    window, total = backend.infer(feeds, ("samples.window", "total"))
    assert (window.tolist(), total.tolist()) == ([[6]], [15])
    assert set(feeds) == {"samples", "samples.window"}, "another run may need them: the step is repeated alone"


def test_a_first_value_from_a_file(tmp_path: Path) -> None:
    state_models.layered(tmp_path / "model.onnx")
    pair = {"input": "h_in", "output": "h_out", "initial": "h0.npy"}
    with pytest.raises(
        ModelInvalid, match=r"cannot read .*h0.npy, which state.pairs of mooring.json names: No such file"
    ):
        loaded(tmp_path, {"pairs": [pair]})
    np.save(tmp_path / "h0.npy", np.arange(6, dtype=np.float32).reshape(2, 1, 3))
    assert first(stateful(tmp_path, {"pairs": [pair]}))[0].tolist() == [[[0, 1, 2], [3, 4, 5]]]
    np.save(tmp_path / "h0.npy", np.array([{}]), allow_pickle=True)
    with pytest.raises(ModelInvalid, match=r"h0.npy is no .npy file of plain numbers: Object arrays cannot be loaded"):
        loaded(tmp_path, {"pairs": [pair]})


def test_a_constant_is_fed_in_every_run(tmp_path: Path) -> None:
    state_models.scaled_accumulator(tmp_path / "model.onnx")
    pair = {"input": "state_in", "output": "state_out", "axis": 0}
    alone = stateful(tmp_path, {"pairs": [pair]})
    assert (list(alone.metadata.inputs), alone.metadata.max_batch) == (["x", "factor"], 0)
    backend = stateful(tmp_path, {"constants": {"factor": 3}})
    assert (list(backend.metadata.inputs), backend.metadata.max_batch) == (["x"], 32)
    outputs, state = step(backend, x([1], [2]), (np.array([[10], [20]], np.float32),))
    assert outputs[0].tolist() == state[0].tolist() == [[13], [26]]


def test_a_first_value_of_the_models_own(tmp_path: Path) -> None:
    state_models.learned(tmp_path / "model.onnx", (1, 2, 3))
    backend = stateful(tmp_path)
    assert list(backend.metadata.inputs) == ["x"]
    state = first(backend)
    assert state[0].tolist() == [[1, 2, 3]]
    outputs, state = step(backend, x([1, 1, 1]), state)
    outputs, state = step(backend, x([1, 1, 1]), state)
    assert outputs[0].tolist() == state[0].tolist() == [[3, 4, 5]], "the file's value is where a session begins, only"
    np.save(tmp_path / "zero.npy", np.zeros((1, 3), np.float32))
    pair = {"input": "state_in", "output": "state_out", "initial": "zero.npy"}
    assert first(stateful(tmp_path, {"pairs": [pair]}))[0].tolist() == [[0, 0, 0]]
    assert loaded(tmp_path, False).metadata.state is None


class Faulty(Backend):
    """Gives as the next state what it is told to; `x` [n, 1] comes back as `y`."""

    device, memory = "nowhere", 0

    def __init__(self, given: Array) -> None:
        specs = (TensorSpec("x", "FP32", (-1, 1)),), (TensorSpec("y", "FP32", (-1, 1)),)
        schema = StateSchema((StatePair("h", "h", "h2", "FP32", (1, 2, 3), 1),))
        self.metadata = ModelMetadata("m", "1", "p", *specs, Traits(state=schema))
        self.given = given

    def infer(self, inputs: Mapping[str, Array], outputs: Sequence[str]) -> list[Array]:
        assert not inputs["h"].flags.writeable, "what the last step left must stay if this one fails"
        return [inputs["x"], self.given]


@pytest.mark.parametrize(
    ("given", "sessions", "words"),
    [
        (np.zeros((2, 1, 3)), 1, "gave the state 'h2' as float64: its input 'h' is FP32"),
        (
            np.zeros((2, 1, 4), np.float32),
            1,
            "gave the state 'h2' in shape [2, 1, 4]: its input 'h' does not take that",
        ),
        (np.zeros((2,), np.float32), 1, "gave the state 'h2' in shape [2]: its input 'h' does not take that; as it is"),
        (np.zeros((2, 2, 3), np.float32), 1, "model 'm': a run of 1 sessions gave the state 'h2' in shape [2, 2, 3]"),
        (np.zeros((2, 1, 3), np.float32), 2, "a run of 2 sessions gave the state 'h2' in shape [2, 1, 3]"),
    ],
)
def test_a_next_state_that_is_none_fails_the_run(given: Array, sessions: int, words: str) -> None:
    inner = Faulty(given)
    backend = Stateful(inner, inner.metadata)
    feeds = {"x": np.zeros((sessions, 1), np.float32), "h": np.zeros((sessions, 2, 3), np.float32)}
    with pytest.raises(InferenceFailed, match=re.escape(words)) as caught:
        backend.infer(feeds, ("y", "h2"))
    # Sessions that are not kept apart: none may share a run from now on.
    assert isinstance(caught.value, NotPerSample) == (sessions == 2)


def test_what_the_last_step_left_can_not_be_written_to() -> None:
    inner = Faulty(np.zeros((2, 1, 3), np.float32))
    left = np.ones((1, 2, 3), np.float32)
    [_, new] = Stateful(inner, inner.metadata).infer({"x": np.zeros((1, 1), np.float32), "h": left}, ("y", "h2"))
    assert left.flags.writeable, "the caller's own array is as it was"
    assert new.shape == (1, 2, 3)


def test_a_model_that_is_served_has_its_state(tmp_path: Path) -> None:
    state_models.layered(tmp_path / "model.onnx")
    backend = stateful(tmp_path)
    model = Model("m", ModelStats("m", "1"))
    assert model.stateful is None
    model.serve(backend)
    assert model.stateful is backend
    assert model.metadata.state is backend.schema
    model.close()


def test_batching_that_is_said_holds(tmp_path: Path) -> None:
    state_models.layered(tmp_path / "model.onnx")
    assert stateful(tmp_path, BATCH_MAX_SIZE="7").metadata.batch_limit == 7
    alone = stateful(tmp_path, BATCH_MAX_SIZE="1")
    assert alone.metadata.max_batch == 0
    # Else a setting of batches would make all states unreadable.
    assert alone.schema.fingerprint == stateful(tmp_path).schema.fingerprint


# --- converters


def old(name: str, value: float, size: int = 1) -> Tensor:
    return Tensor(name, "FP32", np.full((1, size), value, np.float32))


def test_a_converter_in_onnx(tmp_path: Path) -> None:
    state_models.accumulator(tmp_path / "model.onnx")
    state_models.converter(tmp_path / "convert.onnx", [("total", "state_out_sum")], factor=2)
    said = {"version": "2", "converter": {"file": "convert.onnx", "from": ["1", "f00d"]}}
    converter = stateful(tmp_path, said).converter
    assert converter is not None
    [new] = converter((old("total", 21),), "f00d", "7")
    assert (new.name, new.datatype, new.array.tolist()) == ("state_in_sum", "FP32", [[42]])
    assert converter.takes("anything", "1")
    assert not converter.takes("anything", "7")
    with pytest.raises(
        InferenceFailed, match="the converter takes states of 1, f00d only: this one has the schema beef"
    ):
        converter((old("total", 1),), "beef", "7")
    words = "convert.onnx takes 'total' as FP32 [1, 1], and the state of version 1 has float32 [1, 2] there"
    with pytest.raises(InferenceFailed, match=re.escape(words)):
        converter((old("total", 1, size=2),), "f00d", "1")
    with pytest.raises(InferenceFailed, match="and the state of version 1 has nothing there"):
        converter((old("sum", 1),), "f00d", "1")


def test_what_a_converter_does_not_give_is_carried_over(tmp_path: Path) -> None:
    state_models.crossed(tmp_path / "model.onnx", {"state_in_a": "state_out_a", "state_in_b": "state_out_b"})
    state_models.converter(tmp_path / "convert.onnx", [("state_in_a", "state_out_a")], factor=3)
    converter = stateful(tmp_path, {"converter": {"file": "convert.onnx"}}).converter
    assert converter is not None
    assert converter.takes("any", "any")
    new = converter((old("state_in_a", 1), old("state_in_b", 2), old("gone", 3)), "f", "1")
    assert [(each.name, each.array.item()) for each in new] == [("state_in_a", 3), ("state_in_b", 2)]
    words = "the converter gave no 'state_in_b', and the old state has none of FP32 [1, 1]; it gave state_out_a"
    with pytest.raises(InferenceFailed, match=re.escape(words)):
        converter((old("state_in_a", 1), old("state_in_b", 2, size=2)), "f", "1")


def test_converters_that_cannot_be_are_told(tmp_path: Path) -> None:
    state_models.accumulator(tmp_path / "model.onnx")
    with pytest.raises(ModelInvalid, match=r"convert.onnx, the converter of states, is not there"):
        loaded(tmp_path, STATE_CONVERTER="convert.onnx")
    state_models.converter(tmp_path / "convert.onnx", [("total", "sum2")])
    words = "convert.onnx gives sum2: its outputs must be named as the state of model 'm', state_in_sum, state_out_sum"
    with pytest.raises(ModelInvalid, match=re.escape(words)):
        loaded(tmp_path, STATE_CONVERTER="convert.onnx")


CONVERT = """
import numpy as np

def convert(state, version):
    if version == "3":
        raise KeyError("total")
    if version == "4":
        return state["total"]
    state["total"] += 1
    return {"state_in_sum": state["total"].astype(np.float64 if version == "5" else np.float32)}
"""


def test_a_converter_in_python(tmp_path: Path) -> None:
    state_models.accumulator(tmp_path / "model.onnx")
    file = tmp_path / "convert.py"
    file.write_text(CONVERT)
    with pytest.raises(UnsafeFormat, match=r"convert.py is Python code: loading it would execute code from the file"):
        loaded(tmp_path, STATE_CONVERTER="convert.py")
    converter = stateful(tmp_path, STATE_CONVERTER="convert.py", ALLOW_UNSAFE_FORMATS="true").converter
    assert converter is not None
    before = old("total", 1)
    [new] = converter((before,), "f", "1")
    assert (new.array.tolist(), before.array.tolist()) == ([[2]], [[1]])
    for version, words in (
        ("3", "convert.py failed: KeyError: 'total'"),
        ("4", "convert.py: convert gave array([[1.]], dtype=float32): it must return a dict of numpy arrays"),
        ("5", "the converter gave 'state_in_sum' as float64 [1, 1]: it must be FP32 [1, 1]"),
    ):
        with pytest.raises(InferenceFailed, match=re.escape(words)):
            converter((before,), "f", version)
    for text, words in (
        ("x = 1", "convert.py has no function convert: write `def convert(state, version):`"),
        ("def convert(state): ...", "convert.py: convert must take (state, version): too many positional arguments"),
    ):
        file.write_text(text)
        with pytest.raises(ModelInvalid, match=re.escape(words)):
            loaded(tmp_path, STATE_CONVERTER="convert.py", ALLOW_UNSAFE_FORMATS="true")
