"""States that stay where an ONNX model runs. It is a CPU here; `test_onnx_gpu` does the same on a GPU."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from mooring_runtime.backends.onnx import graphs
from mooring_runtime.backends.onnx.resident import step
from mooring_runtime.messages import DATATYPES, Array, StatePair
from mooring_runtime.repository.stateful import Stateful
from tests.support import arenas, state_models
from tests.support.arenas import Counted, Talk, loaded, room_for
from tests.support.models import ONNX_TYPES

CROSSED = {"h_in": "h_out", "past.10": "present.10", "past.9": "present.9"}


def both(file: Path, slots: int = 0, most: int = 32) -> tuple[Stateful, Stateful]:
    """The model with an arena, of `slots` if any are named, and without."""
    plain = loaded(file, room=0, max_batch=most)
    assert plain.arena is None
    there = loaded(file, room=room_for(plain, slots, most) if slots else arenas.PLENTY, max_batch=most)
    assert there.arena is not None
    assert there.arena.most == most
    return there, plain


@pytest.mark.timeout(60)
@pytest.mark.parametrize("name", ["accumulator", "layered", "crossed"])
def test_many_sessions_in_a_small_ring_are_as_each_alone(tmp_path: Path, name: str) -> None:
    file = tmp_path / "model.onnx"
    if name == "accumulator":
        state_models.accumulator(file, 4)
    elif name == "layered":  # Its sessions stand along axis 1.
        state_models.layered(file)
    else:
        state_models.crossed(file, CROSSED)
    there, plain = both(file, slots=128, most=8)
    counted = Counted(there)
    arenas.interleaved(there, plain, sessions=1_000, steps=3, most=8)
    found, sent = counted.told()
    assert min(found, sent) > 500, "some were still there, and some not"


@pytest.mark.parametrize("name", ["accumulator", "crossed"])
def test_what_is_found_and_what_is_sent(tmp_path: Path, name: str) -> None:
    file = tmp_path / "model.onnx"
    if name == "accumulator":
        state_models.accumulator(file)
    else:
        state_models.crossed(file, CROSSED)
    arenas.found_and_sent(*both(file))


def test_runs_that_fail_for_the_arena_alone_go_on_without(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    arenas.given_up(*both(state_models.accumulator(tmp_path / "model.onnx")), caplog)


def test_a_step_that_the_model_refuses_leaves_its_state_and_no_other(tmp_path: Path) -> None:
    there, plain = both(state_models.picky(tmp_path / "model.onnx"), slots=8, most=4)
    random = np.random.default_rng(0)
    talks = Talk(there), Talk(plain)
    refused = 0
    for _ in range(100):
        sessions = random.permutation(8)[: random.integers(1, 5)].tolist()
        sent = {each: {"x": np.full((1, 1), random.integers(0, 5), np.float32)} for each in sessions}
        told = [talk.steps(sent) for talk in talks]
        for each in sessions:
            one, other = told[0][each], told[1][each]
            if isinstance(one, Exception):
                refused += 1
                assert (type(one), str(one)) == (type(other), str(other))
            else:
                assert not isinstance(other, Exception)
                assert [array.tobytes() for array in one] == [array.tobytes() for array in other]
    assert refused > 10
    assert there.arena is not None, "the model's failures are not the arena's"
    for each, state in talks[0].states.items():
        assert [array.tobytes() for array in state] == [array.tobytes() for array in talks[1].states[each]]


@pytest.mark.parametrize("datatype", list(graphs.ELEMENTS))
def test_every_bit_stays(tmp_path: Path, datatype: str) -> None:
    arenas.every_bit_stays(both(state_models.carried(tmp_path / "model.onnx", datatype))[0])


def test_results_are_not_written_to_by_later_runs(tmp_path: Path) -> None:
    there, _ = both(state_models.accumulator(tmp_path / "model.onnx"), slots=4, most=2)
    arenas.results_stay(there)


def test_a_run_that_is_too_large_is_as_ever(tmp_path: Path) -> None:
    file = state_models.accumulator(tmp_path / "model.onnx")
    plain = loaded(file, room=0)
    there = loaded(file, room=room_for(plain, 8, 4))
    assert there.arena is not None
    assert there.arena.most == 4
    counted, talk = Counted(there), Talk(there)
    sent = {each: {"x": np.ones((1, 1), np.float32)} for each in range(5)}
    for total in (1, 2):
        told = talk.steps(sent)
        assert [answer[0].tolist() for answer in told.values() if isinstance(answer, list)] == [[[total]]] * 5
    assert counted.told() == (0, 0)
    del sent[4]
    talk.steps(sent)
    assert counted.told() == (0, 4)


def test_growing_states_and_windows_come_as_ever(tmp_path: Path) -> None:
    assert loaded(state_models.cache(tmp_path / "model.onnx")).arena is None
    window = {"pairs": [], "windows": [{"input": "samples", "keep": 2}]}
    assert loaded(state_models.stream(tmp_path / "model.onnx"), window).arena is None


def test_a_state_beside_a_window(tmp_path: Path) -> None:
    file = state_models.windowed(tmp_path / "model.onnx")
    said = {"windows": [{"input": "samples", "keep": 2}]}
    there, plain = loaded(file, said), loaded(file, said, room=0)
    assert there.arena is not None
    assert there.arena.inputs == ("state_in",)
    counted, talks = Counted(there), (Talk(there), Talk(plain))
    for turn in range(4):
        sent = {each: {"samples": np.full((1, 3), turn * 10 + each, np.float32)} for each in range(3)}
        told = [talk.steps(sent) for talk in talks]
        for each in range(3):
            one, other = told[0][each], told[1][each]
            assert isinstance(one, list), one
            assert isinstance(other, list), other
            assert [array.tolist() for array in one] == [array.tolist() for array in other]
    assert counted.told() == (9, 3)


def test_a_state_beside_one_that_grows(tmp_path: Path) -> None:
    there, plain = both(state_models.mixed(tmp_path / "model.onnx"))
    assert there.arena is not None
    assert there.arena.inputs == ("state_in",)
    counted, talks = Counted(there), (Talk(there), Talk(plain))
    for turn in range(4):
        sent = {each: {"x": np.full((1, 1), turn * 10 + each, np.float32)} for each in range(3)}
        told = [talk.steps(sent) for talk in talks]
        assert all(isinstance(answer, list) for answer in told[0].values()), told[0]
    assert [[array.tolist() for array in state] for state in talks[0].states.values()] == [
        [array.tolist() for array in state] for state in talks[1].states.values()
    ]
    assert counted.told() == (9, 3)


def test_a_state_that_the_file_has_a_value_for(tmp_path: Path) -> None:
    there, plain = both(state_models.learned(tmp_path / "model.onnx"))
    for model in (there, plain):
        told = Talk(model).steps({each: {"x": np.full((1, 3), each, np.float32)} for each in range(2)})
        assert [answer[0].tolist() for answer in told.values() if isinstance(answer, list)] == [
            [[1, 2, 3]],
            [[2, 3, 4]],
        ]


def test_an_input_without_axes_stays_one(tmp_path: Path) -> None:
    """As the rate of samples is, of models of speech."""
    model = loaded(state_models.scaled(tmp_path / "model.onnx"), {"constants": {"rate": 2}})
    talk, counted = Talk(model), Counted(model)
    for total in (2, 4):
        told = talk.steps({each: {"x": np.ones((1, 1), np.float32)} for each in range(2)})
        assert [answer[0].tolist() for answer in told.values() if isinstance(answer, list)] == [[[total]]] * 2
    assert counted.told() == (2, 2)


@pytest.mark.parametrize("kind", ["read-only", "empty", "in steps"])
def test_what_clients_send_in_other_forms(tmp_path: Path, kind: str) -> None:
    """No client can end what keeps states there: what goes well without goes well with them."""
    model = loaded(state_models.windowed(tmp_path / "model.onnx"))
    sent = np.ones((1, 0 if kind == "empty" else 8), np.float32)[:, :: 2 if kind == "in steps" else 1]
    sent.flags.writeable = kind != "read-only"
    talk = Talk(model)
    for turn in (1, 2):
        [answer] = talk.steps({0: {"samples": sent}}).values()
        assert isinstance(answer, list)
        assert answer[0].tolist() == [[turn * sent.size]]
    assert model.arena is not None


def test_a_state_of_another_shape_fails_as_without(tmp_path: Path) -> None:
    there, plain = both(state_models.accumulator(tmp_path / "model.onnx", 2))
    told = []
    for model in (there, plain):
        talk = Talk(model)
        talk.states[0] = (np.zeros((1, 3), np.float32),)
        told.append(talk.steps({0: {"x": np.zeros((1, 2), np.float32)}})[0])
    assert isinstance(told[0], Exception)
    assert (type(told[0]), str(told[0])) == (type(told[1]), str(told[1]))


def test_what_it_takes_is_counted_and_given_back(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    file = state_models.accumulator(tmp_path / "model.onnx", 4)
    with caplog.at_level(logging.INFO):
        there, plain = both(file, slots=100, most=8)
    assert there.arena is not None
    arena = there.arena.arena
    assert there.memory == plain.memory + arena.size == plain.memory + (96 + 3 * 8) * 16
    assert "model 'm' keeps states on its device: the last 96, in 1920 bytes" in caplog.text
    there.close()
    assert arena.size == 0
    assert there.memory == plain.memory


@pytest.mark.parametrize(("room", "most"), [(79, None), (80, 1), (159, 1), (160, 2), (10**6, 32)])
def test_little_room_makes_small_runs_and_too_little_none(
    tmp_path: Path, room: int, most: int | None, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        found = loaded(state_models.accumulator(tmp_path / "model.onnx", 4), room=room).arena
    assert (None if found is None else found.most) == most
    words = "a session has 16 bytes, and for runs of one sample MOORING_DEVICE_STATE must be 5 times as much"
    assert (words in caplog.text) == (most is None)


def test_there_is_none_where_it_cannot_be(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    file = state_models.accumulator(tmp_path / "model.onnx")
    assert loaded(file, hold_anywhere=False).arena is None, "on a CPU"


def test_a_state_that_is_an_input_is_not_left_where_nobody_writes_it(tmp_path: Path) -> None:
    """onnxruntime hands such an input over as the output, and never writes to where that is bound."""
    model = loaded(state_models.passed(tmp_path / "model.onnx"), {"pairs": [{"input": "h", "output": "h"}]})
    talk = Talk(model)
    talk.states = {each: (np.full((1, 1), each + 5, np.float32),) for each in range(2)}
    for _ in range(3):
        told = talk.steps({each: {"x": np.ones((1, 1), np.float32)} for each in range(2)})
        assert [answer[0].tolist() for answer in told.values() if isinstance(answer, list)] == [[[6]], [[7]]]
    assert model.lost


@pytest.mark.parametrize(("state", "x"), [("FP32", "BYTES"), ("BYTES", "FP32"), ("BF16", "FP32"), ("FP32", "BF16")])
def test_models_that_run_in_other_ways_have_none(tmp_path: Path, state: str, x: str) -> None:
    model = loaded(state_models.carried(tmp_path / "model.onnx", state, x=x))
    assert model.arena is None
    dtype = DATATYPES[x].dtype
    told = Talk(model).steps({each: {"x": np.full((1, 1), b"a" if x == "BYTES" else 1, dtype)} for each in range(2)})
    assert [type(answer) for answer in told.values()] == [list, list]


def test_a_run_is_filled_up_with_its_last_sample(tmp_path: Path) -> None:
    there, _ = both(state_models.accumulator(tmp_path / "model.onnx"))
    assert there.arena is not None
    memory = vars(there.arena.arena)["_memory"]
    real, seen = memory.run, []

    def run(inputs: Mapping[str, Array], places: Sequence[int], *more: object) -> list[Array]:
        seen.append((inputs["x"].ravel().tolist(), list(places)))
        results: list[Array] = real(inputs, places, *more)
        return results

    memory.run = run
    talk = Talk(there)
    for _ in range(2):
        talk.steps({each: {"x": np.full((1, 1), each, np.float32)} for each in (1, 2)}, padded=4)
    slots = vars(vars(there.arena.arena)["_index"])["slots"]
    # Both begin with the same state, which is sent once.
    assert seen == [([1, 2, 2, 2], [slots] * 4), ([1, 2, 2, 2], [0, 1, 1, 1])]


def test_a_memory_that_forgets_is_not_used() -> None:
    with pytest.raises(ValueError, match="the state 'h' came back as another"):
        arenas.forgetful()


@pytest.mark.parametrize("datatype", list(graphs.ELEMENTS))
def test_our_models_are_models(datatype: str) -> None:
    assert graphs.ELEMENTS[datatype] == ONNX_TYPES[datatype]
    pairs = [StatePair(f"h{axis}", "h", "g", datatype, (1, 200, 3, 4), axis) for axis in range(4)]
    for made in (graphs.take(pairs), graphs.put(pairs), graphs.room()):
        onnx.checker.check_model(onnx.load_from_string(made), full_check=True)


def test_blocks_are_aligned_in_every_tensor() -> None:
    def pair(datatype: str, *sizes: int) -> StatePair:
        return StatePair("h", "h", "g", datatype, (1, *sizes))

    assert step([pair("FP32", 64)]) == step([pair("FP32", 2, 512)]) == 1
    assert step([pair("FP32", 1)]) == 64
    assert step([pair("FP32", 3, 16)]) == step([pair("FP32", 64), pair("FP32", 16)]) == 4
    assert step([pair("UINT8", 3)]) == 256


@pytest.mark.parametrize(("slots", "most"), [(100, 1), (100, 3), (100, 8), (5, 1)])
def test_all_that_is_bound_to_an_address_is_aligned(tmp_path: Path, slots: int, most: int) -> None:
    file = state_models.crossed(tmp_path / "model.onnx", CROSSED)
    model = loaded(file, room=room_for(loaded(file, room=0), slots, most), max_batch=most)
    assert model.arena is not None
    memory = vars(model.arena.arena)["_memory"]
    base, seen = memory._places.data_ptr(), []

    class Spy:
        """Of an `IOBinding`."""

        def bind_input(self, *said: Any) -> None:
            seen.append(said[-1])

        bind_output = bind_input

    for tensor in memory._tensors.values():
        tensor.ring(Spy())
        for bind in (Spy().bind_input, Spy().bind_output):
            tensor.given(bind, "", 1)
            tensor.made(bind, "", 1)
        tensor.place(Spy(), "", memory._staged, most)
    assert len(seen) == 6 * 3
    assert {(address - base) % 256 for address in seen} == {0}
    size = memory._places.shape()[0] * 8
    assert base <= min(seen) < max(seen) < base + size <= base + model.arena.arena.size + 4 * 3 * 256
