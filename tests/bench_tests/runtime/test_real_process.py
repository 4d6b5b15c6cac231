"""A real server process under a real load: the constant answer, which needs no peer's environment."""

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.bench.runtime.limits import Constant, Raw
from tests.bench.runtime.load import opened
from tests.bench.runtime.models import Model, make
from tests.bench.runtime.processes import Launch, Server, UnavailableError, idle_share

CORES = sorted(os.sched_getaffinity(0))[:1]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    return make("tiny", tmp_path_factory.mktemp("models"))


@pytest.fixture
def server(model: Model, tmp_path: Path) -> Iterator[Server]:
    made = Server("constant", Constant().launch(model, tmp_path), model, CORES, tmp_path / "log.txt")
    try:
        made.until_ready()
        yield made
    finally:
        made.stop()


def test_open_loop_against_a_real_server(server: Server) -> None:
    figure = opened(server.targets["json"], rate=200, seconds=0.5, seed=1, cores=CORES)
    assert figure.rate > 0
    assert figure.p50 <= figure.p99
    assert server.cpu() > 0
    assert server.memory() > 1


def test_a_stopped_server_leaves_nothing(server: Server) -> None:
    server.stop()
    assert server.memory() == 0


def test_a_wrong_answer_is_not_ready(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.bench.runtime.processes.START_SECONDS", 0.05)
    server.model = replace(server.model, answer=tuple(value + 1 for value in server.model.answer))
    with pytest.raises(UnavailableError, match="instead of"):
        server.until_ready()


def test_a_server_that_ends_tells_its_last_words(model: Model, tmp_path: Path) -> None:
    launch = Launch(["sh", "-c", "echo no such file; exit 3"], Constant().launch(model, tmp_path).targets)
    made = Server("broken", launch, model, CORES, tmp_path / "log.txt")
    try:
        with pytest.raises(UnavailableError, match="ended with 3: no such file"):
            made.until_ready()
    finally:
        made.stop()


def test_onnxruntime_alone(model: Model) -> None:
    raw = Raw(model, CORES)
    try:
        figure = raw.measure(batch=4, seconds=0.05)
    finally:
        raw.stop()
    assert figure.rate > 0
    assert 0 < figure.p50 <= figure.p99


def test_idle_share_is_a_share() -> None:
    assert 0 <= idle_share(0.05) <= 1
