"""From the settings to the memory in which a loaded model keeps states."""

from dataclasses import replace
from pathlib import Path

import pytest

from mooring_runtime.backends.base import loader
from mooring_runtime.repository import ModelSource, load_backend, options_of
from mooring_runtime.repository import config as model_config
from mooring_runtime.repository.stateful import Stateful
from mooring_runtime.scheduling import RunTimes
from mooring_runtime.settings import ServeSettings, load
from tests.support import state_models


def loaded(directory: Path, *, anywhere: bool = True, **settings: str) -> Stateful:
    given = {
        "MODEL_NAME": "m",
        "MODEL_PATH": str(directory),
        "THREADS": "1",
        "SESSION_PATH": "/s",
        "STAND_ALONE": "1",
        **settings,
    }
    chosen = load(ServeSettings, {f"MOORING_{key}": text for key, text in given.items()})
    source = ModelSource(directory, config=model_config.ModelConfig()).under(chosen)
    options = replace(options_of("m", source, chosen, accelerator=False), hold_anywhere=anywhere)
    backend = load_backend(source, options, loader, RunTimes()).backend
    assert isinstance(backend, Stateful)
    return backend


@pytest.fixture(autouse=True)
def model(tmp_path: Path) -> None:
    state_models.accumulator(tmp_path / "model.onnx", 1024)


def test_what_is_set_is_what_is_taken_and_counts_as_the_models(tmp_path: Path) -> None:
    bare, there = loaded(tmp_path, DEVICE_STATE="0"), loaded(tmp_path, DEVICE_STATE="4Mi")
    assert bare.arena is None
    assert there.arena is not None
    assert there.arena.most == 32
    assert there.memory == bare.memory + 2**22


def test_by_default_it_is_256_mib(tmp_path: Path) -> None:
    arena = loaded(tmp_path).arena
    assert arena is not None
    assert arena.arena.size == 2**28


def test_of_small_states_there_are_not_more_than_an_index_should_hold(tmp_path: Path) -> None:
    state_models.accumulator(tmp_path / "model.onnx", 2)
    arena = loaded(tmp_path, BATCH_MAX_SIZE="4").arena
    assert arena is not None
    assert (arena.most, arena.arena.size) == (4, (2**16 + 3 * 4) * 8)


def test_of_a_bound_of_memory_it_takes_a_quarter(tmp_path: Path) -> None:
    arena = loaded(tmp_path, DEVICE_MEMORY="8Mi").arena
    assert arena is not None
    assert arena.arena.size == 2**21


def test_a_model_that_says_it_has_no_state_is_to_have_all_of_the_memory(tmp_path: Path) -> None:
    given = {"MOORING_MODEL_NAME": "m", "MOORING_MODEL_PATH": str(tmp_path), "MOORING_DEVICE_MEMORY": "8Mi"}
    chosen = load(ServeSettings, {**given, "MOORING_SESSION_PATH": "/s", "MOORING_STAND_ALONE": "1"})

    def kept_free(said: str) -> int:
        return options_of("m", ModelSource(tmp_path, config=model_config.parse(said, "")), chosen).device_state_bytes

    assert (kept_free("{}"), kept_free('{"state": false}')) == (2**21, 0)


def test_runs_of_preferred_sizes_fit(tmp_path: Path) -> None:
    arena = loaded(tmp_path, BATCH_PREFERRED="8,48", DEVICE_STATE="4Mi").arena
    assert arena is not None
    assert arena.most == 48


def test_a_cpu_has_none(tmp_path: Path) -> None:
    assert loaded(tmp_path, anywhere=False).arena is None
