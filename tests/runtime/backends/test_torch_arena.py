"""States that stay where a torch model runs. It is a CPU here; `test_torch_gpu` does the same on a GPU."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mooring_runtime.backends.torch.arrays import DTYPES
from mooring_runtime.repository.stateful import Stateful
from tests.support import arenas, torch_arenas
from tests.support.arenas import Counted, Talk

# The first export of a process takes seconds, in which torch imports what it needs for it.
pytestmark = pytest.mark.timeout(120)

FORMATS = ["torch-export", "torchscript"]


def both(directory: Path, model_format: str, **more: Any) -> tuple[Stateful, Stateful]:
    return torch_arenas.both(directory, model_format, **more)


@pytest.mark.parametrize("model_format", FORMATS)
def test_many_sessions_in_a_small_ring_are_as_each_alone(tmp_path: Path, model_format: str) -> None:
    there, plain = both(tmp_path, model_format, slots=20, most=8)
    counted = Counted(there)
    # A run of an exported program takes milliseconds.
    sessions = 1_000 if model_format == "torchscript" else 100
    arenas.interleaved(there, plain, sessions=sessions, steps=3, most=8)
    found, sent = counted.told()
    assert min(found, sent) > sessions / 2, "some were still there, and some not"


@pytest.mark.parametrize("model_format", FORMATS)
def test_what_is_found_and_what_is_sent(tmp_path: Path, model_format: str) -> None:
    arenas.found_and_sent(*both(tmp_path, model_format))


def test_runs_that_fail_for_the_arena_alone_go_on_without(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    arenas.given_up(*both(tmp_path, "torchscript"), caplog)


def test_a_module_that_writes_into_its_state_and_fails_spoils_no_other(tmp_path: Path) -> None:
    there, plain = torch_arenas.greedy(tmp_path, slots=8, most=4)
    random = np.random.default_rng(0)
    talks, refused = (Talk(there), Talk(plain)), 0
    for _ in range(60):
        sessions = random.permutation(8)[: random.integers(1, 5)].tolist()
        sent = {each: {"x": np.full((1, 1), random.integers(-1, 5), np.float32)} for each in sessions}
        told = [talk.steps(sent) for talk in talks]
        for each in sessions:
            one, other = told[0][each], told[1][each]
            refused += isinstance(one, Exception)
            assert isinstance(one, Exception) == isinstance(other, Exception)
            if isinstance(one, list) and isinstance(other, list):
                assert [array.tolist() for array in one] == [array.tolist() for array in other]
    assert refused > 10
    assert there.arena is not None
    for each, state in talks[0].states.items():
        assert [array.tolist() for array in state] == [array.tolist() for array in talks[1].states[each]]


@pytest.mark.parametrize("datatype", list(DTYPES))
def test_every_bit_stays(tmp_path: Path, datatype: str) -> None:
    arenas.every_bit_stays(torch_arenas.carried(tmp_path, datatype))


def test_results_are_not_written_to_by_later_runs(tmp_path: Path) -> None:
    there, _ = both(tmp_path, "torchscript", slots=4, most=2)
    arenas.results_stay(there)


@pytest.mark.parametrize("given", ["wrong", "narrow", "double", "whole", "none"])
def test_a_next_state_that_is_none_fails_as_without(tmp_path: Path, given: str) -> None:
    there, plain = torch_arenas.faulty(tmp_path, given)
    for sessions in (1, 3):
        sent = {each: {"x": np.ones((1, 1), np.float32)} for each in range(sessions)}
        told = [Talk(model).steps(sent) for model in (there, plain)]
        for each in range(sessions):
            one, other = told[0][each], told[1][each]
            assert isinstance(one, Exception)
            assert (type(one), str(one)) == (type(other), str(other))
    assert there.arena is not None


def test_what_it_takes_is_counted_and_given_back(tmp_path: Path) -> None:
    there, plain = both(tmp_path, "torchscript", slots=100, most=8)
    assert there.arena is not None
    arena = there.arena.arena
    # A sum of 4 bytes, and two layers of 3 halves.
    assert there.memory == plain.memory + arena.size == plain.memory + (100 + 3 * 8) * 16
    ring = vars(vars(arena)["_memory"])["_rings"]["total_in"]
    assert (ring.dtype, tuple(ring.shape)) == (torch.int32, (108, 1))
    there.close()
    assert (arena.size, vars(arena)["_memory"]) == (0, None)


def test_there_is_none_on_a_cpu(tmp_path: Path) -> None:
    there, _ = both(tmp_path, "torchscript", hold_anywhere=False)
    assert there.arena is None


@pytest.mark.parametrize("model_format", FORMATS)
def test_runs_with_states_there_are_shown_to_be_runs_without(tmp_path: Path, model_format: str) -> None:
    arenas.shown(both(tmp_path, model_format)[0])


def test_a_model_of_bfloat16_shows_it_too(tmp_path: Path) -> None:
    arenas.shown(torch_arenas.carried(tmp_path, "BF16"))
