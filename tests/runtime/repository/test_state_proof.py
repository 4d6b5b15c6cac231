"""What a model with states on its device has to show before it is served, and what becomes of one that cannot."""

import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mooring_runtime.backends.arena import Memory
from mooring_runtime.backends.base import Backend, Load, LoadOptions, loader
from mooring_runtime.errors import InferenceFailed
from mooring_runtime.messages import Array
from mooring_runtime.metrics import MetricsPage
from mooring_runtime.repository import ModelSource, load_backend
from mooring_runtime.repository import config as model_config
from mooring_runtime.repository.models import Model
from mooring_runtime.repository.stateful import Stateful
from mooring_runtime.scheduling import RunTimes
from tests.support import arenas, state_models
from tests.support.arenas import Counted, Talk
from tests.support.repositories import managing

Change = Callable[[Backend], object]


class Spoilt:
    """A memory of which each test replaces what is to go wrong."""

    def __init__(self, memory: Memory) -> None:
        self.memory = memory
        self.stage, self.read = memory.stage, memory.read

    def run(
        self, inputs: Mapping[str, Array], places: Sequence[int], outputs: Sequence[str], start: int
    ) -> list[Array]:
        return self.memory.run(inputs, places, outputs, start)


class Swapped(Spoilt):
    """The states of two sessions are each other's."""

    def run(
        self, inputs: Mapping[str, Array], places: Sequence[int], outputs: Sequence[str], start: int
    ) -> list[Array]:
        return self.memory.run(inputs, places[::-1], outputs, start)


class Unwritten(Spoilt):
    """Next states are answered and stay nowhere."""

    def run(
        self, inputs: Mapping[str, Array], places: Sequence[int], outputs: Sequence[str], start: int
    ) -> list[Array]:
        return self.memory.run(inputs, places, outputs, start + len(places))


class Stale(Spoilt):
    """Of the states that are sent, the first ones stay."""

    def __init__(self, memory: Memory) -> None:
        super().__init__(memory)
        self.stage = self._once

    def _once(self, rows: Mapping[str, Array]) -> None:
        self.memory.stage(rows)
        self.stage = lambda rows: None


class Rounding(Spoilt):
    """What is computed there is another number, by the least that can be."""

    def run(
        self, inputs: Mapping[str, Array], places: Sequence[int], outputs: Sequence[str], start: int
    ) -> list[Array]:
        results = dict(zip(outputs, super().run(inputs, places, outputs, start), strict=True))
        results["sum"] = np.nextafter(results["sum"], np.float32(9))
        return list(results.values())


class Failing(Spoilt):
    """No run goes well."""

    def run(
        self, inputs: Mapping[str, Array], places: Sequence[int], outputs: Sequence[str], start: int
    ) -> list[Array]:
        raise RuntimeError("misaligned address")


def changed(change: Change) -> Callable[[str], Load]:
    """`loader`, of backends to which something is done."""

    def load(file: Path, options: LoadOptions) -> Backend:
        backend = loader("onnx")(file, options)
        change(backend)
        return backend

    return lambda _: load


def spoilt(kind: type[Spoilt]) -> Change:
    def change(backend: Backend) -> None:
        real = backend.hold

        def hold(*said: Any) -> Any:
            arena = real(*said)
            vars(arena)["_memory"] = kind(vars(arena)["_memory"])
            return arena

        vars(backend)["hold"] = hold

    return change


def full(backend: Backend) -> None:
    def hold(*_: object) -> None:
        raise MemoryError("CUDA out of memory")

    vars(backend)["hold"] = hold


def refusing(backend: Backend) -> None:
    """A model that fails at a state which none of its sessions can have."""
    real = backend.infer

    def infer(inputs: Mapping[str, Array], outputs: Sequence[str]) -> list[Array]:
        if inputs["state_in_sum"].any():
            raise InferenceFailed("no such state")
        return real(inputs, outputs)

    vars(backend)["infer"] = infer


def loaded(file: Path, change: Change = lambda _: None, *, state: str = "{}", **config: Any) -> Stateful:
    said = replace(model_config.parse(f'{{"state": {state}}}', "mooring.json"), **config)
    options = arenas.options(device_state=arenas.PLENTY, max_batch=said.max_batch)
    found = load_backend(ModelSource(file.parent, config=said), options, changed(change), RunTimes()).backend
    assert isinstance(found, Stateful)
    return found


@pytest.fixture
def accumulator(tmp_path: Path) -> Path:
    return state_models.accumulator(tmp_path / "model.onnx")


def told(caplog: pytest.LogCaptureFixture) -> Iterator[str]:
    for record in caplog.records:
        if record.levelname == "ERROR":
            yield record.getMessage()


def serves(model: Stateful) -> bool:
    """Whether steps of two sessions are answered, and the second ones go on from the first."""
    talk = Talk(model)
    [spec] = model.metadata.inputs.values()
    sent = {each: {"x": np.full((1, *spec.shape[1:]), each + 1, np.float32)} for each in range(2)}
    answers = [talk.steps(sent) for _ in range(2)]
    return all(isinstance(answer, list) for each in answers for answer in each.values()) and [
        talk.states[each][0].ravel().tolist() for each in range(2)
    ] == [[2], [4]]


@pytest.mark.parametrize("name", ["accumulator", "layered", "crossed", "mixed", "windowed"])
def test_a_model_that_is_right_there_is_served_there_and_nothing_of_the_proof_stays(
    tmp_path: Path, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    file, state = tmp_path / "model.onnx", "{}"
    if name == "crossed":
        state_models.crossed(file, {"h_in": "h_out", "past.10": "present.10", "past.9": "present.9"})
    else:
        getattr(state_models, name)(file)
    if name == "windowed":
        state = '{"windows": [{"input": "samples", "keep": 2}]}'
    model = loaded(file, state=state)
    assert model.arena is not None
    assert not model.lost
    assert not list(told(caplog))
    index = vars(model.arena.arena)["_index"]
    assert (len(index), index.reserve(1)) == (0, 0)


def test_a_model_that_runs_one_sample_at_a_time_shows_it_with_one(accumulator: Path) -> None:
    model = loaded(accumulator, max_batch=1)
    assert model.arena is not None
    assert model.arena.most == 1
    assert serves(model)
    assert loaded(accumulator, spoilt(Unwritten), max_batch=1).lost


def test_states_that_were_found_and_states_that_were_sent_are_both_shown(accumulator: Path) -> None:
    seen: list[tuple[list[int], int]] = []

    class Seen(Spoilt):
        def run(
            self, inputs: Mapping[str, Array], places: Sequence[int], outputs: Sequence[str], start: int
        ) -> list[Array]:
            seen.append((list(places), start))
            return super().run(inputs, places, outputs, start)

    model = loaded(accumulator, spoilt(Seen))
    assert model.arena is not None
    first = vars(model.arena.arena)["_staged"]
    assert seen == [([first, first + 1], 0), ([1, first], 64)]


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        (Swapped, "output 'sum' of a run with states there differs from that of the same run without"),
        (Unwritten, "what a run left there is not what it gave"),
        (Stale, "output 'sum' of a run with states there differs"),
        (Rounding, "output 'sum' of a run with states there differs"),
        (Failing, "to compare a run with states there and one without failed: RuntimeError: misaligned address"),
    ],
)
def test_a_device_that_gets_it_wrong_is_found_out(
    accumulator: Path, kind: type[Spoilt], words: str, caplog: pytest.LogCaptureFixture
) -> None:
    model = loaded(accumulator, spoilt(kind))
    assert (model.arena, model.lost) == (None, True)
    [line] = told(caplog)
    assert line.startswith("model 'm' keeps no states on its device, and is sent them for each run: ")
    assert words in line
    assert line.endswith("(MOORING_DEVICE_STATE=0 leaves them out from the start)")
    assert serves(model)


def test_a_device_without_room_is_no_reason_not_to_serve(accumulator: Path, caplog: pytest.LogCaptureFixture) -> None:
    model = loaded(accumulator, full)
    assert (model.arena, model.lost) == (None, True)
    assert list(told(caplog)) == ["model 'm' keeps no states on its device: MemoryError: CUDA out of memory"]
    assert serves(model)


def test_a_model_that_draws_at_random_is_served_without(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    model = loaded(state_models.drawing(tmp_path / "model.onnx"))
    assert (model.arena, model.lost) == (None, True)
    [line] = told(caplog)
    assert "two runs of the same without them differ in output 'noise': the model draws at random" in line
    assert serves(model)


def test_a_state_that_is_an_input_is_sent(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    model = loaded(state_models.passed(tmp_path / "model.onnx"), state='{"pairs": [{"input": "h", "output": "h"}]}')
    assert (model.arena, model.lost) == (None, True)
    assert "onnxruntime does not write the state 'h'" in next(told(caplog))


def test_a_model_that_takes_no_state_but_its_own_shows_it_with_those(accumulator: Path) -> None:
    model = loaded(accumulator, refusing)
    assert model.arena is not None
    assert not model.lost


@pytest.mark.parametrize("cold", ["warmup 0", "it does not take zeros"])
def test_without_a_warm_up_nothing_is_shown(
    tmp_path: Path, accumulator: Path, cold: str, caplog: pytest.LogCaptureFixture
) -> None:
    def cannot(backend: Backend) -> None:
        def infer(*_: object) -> list[Array]:
            raise InferenceFailed("not that")

        vars(backend)["infer"] = infer

    model = loaded(accumulator, warmup=0) if cold == "warmup 0" else loaded(accumulator, cannot)
    assert (model.arena, model.lost) == (None, True)
    assert "the model has had no warm-up that went well" in next(told(caplog))


def test_the_numbers_tell_of_a_model_that_does_without(accumulator: Path) -> None:
    def number(model: Stateful) -> int | None:
        stats = MetricsPage().add("m", "1")
        Model("m", stats).serve(model)
        return None if stats.state_bytes is None else stats.state_bytes()

    assert number(loaded(accumulator, spoilt(Swapped))) == 0
    assert number(loaded(accumulator, full)) == 0
    assert (number(loaded(accumulator)) or 0) > 0
    assert number(arenas.loaded(accumulator, room=0)) is None


def test_a_device_that_is_full_in_service_is_left_to_the_model(
    accumulator: Path, caplog: pytest.LogCaptureFixture
) -> None:
    model = loaded(accumulator)
    talk, counted = Talk(model), Counted(model)
    sent = {each: {"x": np.ones((1, 1), np.float32)} for each in range(3)}
    talk.steps(sent)
    assert counted.told() == (0, 3)
    assert model.arena is not None
    places = weakref.ref(vars(model.arena.arena)["_memory"])
    arenas.fail_there(model, "no memory for the gather")
    backend = vars(model)["_backend"]
    real = backend.infer

    def infer(inputs: Mapping[str, Array], outputs: Sequence[str]) -> list[Array]:
        if model.arena is not None:
            raise InferenceFailed("the model failed: Failed to allocate memory for requested buffer of size 4096")
        assert places() is None, "the memory of the device is free by now"
        found: list[Array] = real(inputs, outputs)
        return found

    vars(backend)["infer"] = infer
    answers = talk.steps(sent)
    assert [answer[0].tolist() for answer in answers.values() if isinstance(answer, list)] == [[[2]]] * 3
    assert model.lost
    [line] = told(caplog)
    assert "the device is full: the model failed: Failed to allocate memory" in line


def test_what_the_model_refuses_leaves_its_states_there(accumulator: Path) -> None:
    model = loaded(accumulator)
    arenas.fail_there(model, "not that either")
    vars(vars(model)["_backend"])["infer"] = lambda *_: (_ for _ in ()).throw(InferenceFailed("not that"))
    [answer] = Talk(model).steps({0: {"x": np.ones((1, 1), np.float32)}}).values()
    assert str(answer) == "not that"
    assert model.arena is not None


async def test_no_model_sleeps_or_is_refused_for_states_on_a_device(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Only the weights are what MOORING_MAX_LOADED_BYTES has to have room for."""
    for name in "ab":
        (tmp_path / name).mkdir()
        state_models.accumulator(tmp_path / name / "model.onnx")

    def anywhere(backend: Backend) -> None:
        real = backend.hold
        vars(backend)["hold"] = lambda pairs, most, said: real(pairs, most, replace(said, hold_anywhere=True))

    settings = {"SESSION_PATH": str(tmp_path / "s"), "STAND_ALONE": "1", "DEVICE_STATE": "100Ki"}
    async with managing(tmp_path, changed(anywhere), MAX_LOADED_BYTES="120Ki", **settings) as managed:
        assert managed.states() == {"a/1": "READY", "b/1": "READY"}
        models = [managed.repository.find(name, None) for name in "ab"]
        found = [model.stateful.arena is not None for model in models if model.stateful is not None]
        assert sorted(found) == [False, True]
        assert sum(model.memory for model in models) <= 120 * 2**10
        assert "more than MOORING_MAX_LOADED_BYTES" in next(told(caplog))
        [there] = [model for model in models if model.stateful is not None and model.stateful.arena is not None]
        assert there.stateful is not None
        assert there.stateful.arena is not None
        before = there.memory
        there.stateful.arena.give_up("a test")
        assert there.memory < 1000 < before, "what is given back in service is counted no more"
