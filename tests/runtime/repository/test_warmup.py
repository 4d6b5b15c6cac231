import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest

from mooring_runtime.errors import ModelInvalid, ModelNotFound, ModelRefused
from mooring_runtime.messages import Array, ModelMetadata, TensorSpec, Traits
from mooring_runtime.repository.config import ModelConfig
from mooring_runtime.repository.warmup import read_requests, warm_up
from mooring_runtime.scheduling import RunTimes
from tests.support.serving import ALL, EchoBackend, echo_metadata

GROWN = [2, 2, 4, 4, 8, 8, 16, 16, 32, 32]
"""Samples of the larger runs of a quick model."""


class Recorder(EchoBackend):
    """Remembers what it was run on."""

    def __init__(self, metadata: ModelMetadata) -> None:
        super().__init__(metadata)
        self.feeds: list[Mapping[str, Array]] = []

    def infer(self, inputs: Mapping[str, Array], outputs: Sequence[str]) -> list[Array]:
        self.feeds.append(inputs)
        return super().infer(inputs, outputs)


def requests(directory: Path, document: object) -> ModelConfig:
    (directory / "warmup.json").write_text(json.dumps(document))
    return ModelConfig(requests="warmup.json")


def one(data: object, shape: list[int], **more: object) -> dict[str, object]:
    return {"inputs": [{"name": "in_FP32", "shape": shape, "data": data, **more}]}


def test_zeros_of_every_datatype_in_its_smallest_shape(tmp_path: Path) -> None:
    backend = Recorder(echo_metadata(ALL, (-1, 3)))
    warm_up(backend, RunTimes(), ModelConfig(), tmp_path, measure=True)
    for feeds, size in zip(backend.feeds, [1, 1, 1, 1, *GROWN], strict=True):
        assert {array.shape for array in feeds.values()} == {(size, 3)}
        assert feeds["in_BYTES"].ravel().tolist() == [b""] * 3 * size


def test_it_learns_how_long_a_run_takes(tmp_path: Path) -> None:
    times = RunTimes()
    warm_up(EchoBackend(echo_metadata(("FP32",), (-1, 4))), times, ModelConfig(), tmp_path)
    assert times.inline(16)
    assert times.curve.runs == 3


class Clock:
    """The time that the runs of a backend have taken: as long as its curve says."""

    def __init__(self, a: float, b: float) -> None:
        self.now, self.a, self.b = 0.0, a, b

    def backend(self, shape: tuple[int, ...] = (-1, 4), most: int = 32) -> "Timed":
        return Timed(echo_metadata(("FP32",), shape).with_traits(Traits(max_batch=most)), self)

    def __call__(self) -> float:
        return self.now


class Timed(Recorder):
    def __init__(self, metadata: ModelMetadata, clock: Clock) -> None:
        super().__init__(metadata)
        self.clock = clock

    def infer(self, inputs: Mapping[str, Array], outputs: Sequence[str]) -> list[Array]:
        self.clock.now += self.clock.a + self.clock.b * inputs["in_FP32"].shape[0]
        return super().infer(inputs, outputs)

    @property
    def sizes(self) -> list[int]:
        return [feeds["in_FP32"].shape[0] for feeds in self.feeds]


def test_a_new_replica_knows_its_curve(tmp_path: Path) -> None:
    clock, times = Clock(0.003, 0.0005), RunTimes()
    warm_up(clock.backend(), times, ModelConfig(), tmp_path, measure=True, clock=clock)
    assert times.curve.terms == pytest.approx((0.003, 0.0005))


def test_larger_runs_end_at_the_most_samples_of_one(tmp_path: Path) -> None:
    clock = Clock(0.0, 0.0001)
    backend = clock.backend(most=12)
    warm_up(backend, RunTimes(), ModelConfig(warmup=1), tmp_path, measure=True, clock=clock)
    assert backend.sizes == [1, 2, 2, 4, 4, 8, 8]


@pytest.mark.parametrize(("warmup", "sizes"), [(1, [1, 2, 2]), (20, [1] * 20 + [2, 2, 4, 4])])
def test_a_slow_model_is_not_held_back_by_larger_runs(tmp_path: Path, warmup: int, sizes: list[int]) -> None:
    # They may take as long as the first runs, or half a second.
    clock = Clock(0.0, 0.1)
    backend = clock.backend()
    warm_up(backend, RunTimes(), ModelConfig(warmup=warmup), tmp_path, measure=True, clock=clock)
    assert backend.sizes == sizes


def test_zeros_of_the_smallest_shape_draw_no_curve_where_clients_send_larger_ones(tmp_path: Path) -> None:
    clock = Clock(0.001, 0.001)
    backend = clock.backend(shape=(-1, -1))
    warm_up(backend, RunTimes(), ModelConfig(), tmp_path, measure=True, clock=clock)
    assert backend.sizes == [1] * 4
    own = clock.backend(shape=(-1, -1), most=4)
    config = requests(tmp_path, {"requests": [one([[3, 4, 5], [6, 7, 8]], [2, 3])]})
    warm_up(own, RunTimes(), config, tmp_path, measure=True, clock=clock)
    assert own.sizes == [2] * 4 + [2, 2, 4, 4]
    assert own.feeds[-1]["in_FP32"].tolist() == [[3, 4, 5]] * 4


def test_a_model_that_takes_no_larger_runs_is_served(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    backend = Recorder(echo_metadata())

    def refuse() -> None:
        if backend.feeds[-1]["in_FP32"].shape[0] > 2:
            raise ModelRefused("too large")

    backend.hook = refuse
    warm_up(backend, RunTimes(), ModelConfig(), tmp_path, measure=True)
    assert "model 'echo' is not warm for larger runs: too large" in caplog.text
    config = requests(tmp_path, {"requests": [one([1, 2], [1, 2])]})
    warm_up(backend, RunTimes(), config, tmp_path, measure=True)


def test_as_many_runs_as_are_said(tmp_path: Path) -> None:
    backend = Recorder(echo_metadata())
    warm_up(backend, RunTimes(), ModelConfig(warmup=0), tmp_path)
    assert backend.runs == 0
    warm_up(backend, RunTimes(), ModelConfig(warmup=9), tmp_path)
    assert backend.runs == 9


def test_every_preferred_size_is_seen(tmp_path: Path) -> None:
    backend = Recorder(echo_metadata().with_traits(Traits(max_batch=8)))
    warm_up(backend, RunTimes(), ModelConfig(warmup=1, preferred=(4, 8)), tmp_path)
    assert [feeds["in_FP32"].shape[0] for feeds in backend.feeds] == [1, 4, 4, 8, 8]
    fixed = Recorder(echo_metadata(shape=(2, 2)))
    warm_up(fixed, RunTimes(), ModelConfig(warmup=1, preferred=(4, 8)), tmp_path)
    assert [feeds["in_FP32"].shape for feeds in fixed.feeds] == [(2, 2)]


def test_a_model_that_takes_no_zeros_is_served_cold(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    def refuse() -> None:
        raise ModelRefused("no zeros")

    warm_up(EchoBackend(echo_metadata(), refuse), RunTimes(), ModelConfig(), tmp_path)
    assert "model 'echo' does not like a warm-up with zeros, so it starts cold: no zeros" in caplog.text


def test_real_requests_in_turn(tmp_path: Path) -> None:
    config = requests(tmp_path, {"requests": [one([1, 2], [1, 2]), one([[3, 4], [5, 6]], [2, 2], datatype="FP32")]})
    backend = Recorder(echo_metadata())
    warm_up(backend, RunTimes(), config, tmp_path)
    assert [feeds["in_FP32"].tolist() for feeds in backend.feeds] == [[[1, 2]], [[3, 4], [5, 6]]] * 2


def test_a_request_that_the_model_refuses_is_its_owners_fault(tmp_path: Path) -> None:
    def refuse() -> None:
        raise ModelRefused("too small")

    config = requests(tmp_path, {"requests": [one([1, 2], [1, 2])]})
    with pytest.raises(ModelInvalid, match=r"warmup.json: the model does not take its warm-up: too small"):
        warm_up(EchoBackend(echo_metadata(), refuse), RunTimes(), config, tmp_path)


def test_every_datatype_can_be_written(tmp_path: Path) -> None:
    names = [name for name in ALL if name != "BF16"]
    item = {"inputs": [{"name": f"in_{each}", "shape": [1], "data": ["ä" if each == "BYTES" else 1]} for each in names]}
    file = tmp_path / "warmup.json"
    file.write_text(json.dumps({"requests": [item]}))
    [feeds] = read_requests(file, echo_metadata(names, (-1,)))
    assert feeds["in_BYTES"].tolist() == ["ä".encode()]
    assert all(array.tolist() == [1] for name, array in feeds.items() if name != "in_BYTES")
    assert feeds["in_FP16"].dtype == np.float16


@pytest.mark.parametrize(
    ("document", "words"),
    [
        ([], "warmup.json is []: it must be a JSON object"),
        ({"inputs": []}, "warmup.json has no key 'inputs': it may have requests"),
        ({}, "requests is null: it must be a list of requests"),
        ({"requests": []}, "requests is []: it must be a list of at least one request"),
        ({"requests": [{}]}, "requests[0].inputs is null: it must be a list of tensors"),
        ({"requests": [{"inputs": []}]}, "requests[0] has no input 'in_FP32': give all inputs of the model"),
        (
            {"requests": [{"inputs": [{"name": "x"}]}]},
            'requests[0].inputs[0].name is "x": it must be one of the model\'s inputs, in_FP32',
        ),
        ({"requests": [one([1, 2], [1, 2], datatype="FP64")]}, 'inputs[0].datatype is "FP64": it must be FP32'),
        ({"requests": [one([1, 2], [1, 3])]}, "inputs[0]: data and shape make no tensor of FP32: cannot reshape"),
        (
            {"requests": [one(["a", "b"], [1, 2])]},
            "inputs[0]: data and shape make no tensor of FP32: could not convert",
        ),
        ({"requests": [one([1, 2, 3], [1, 3])]}, "inputs[0].shape is [1, 3]: it must be [-1, 2], where -1 is any size"),
    ],
)
def test_what_is_wrong_with_the_requests_is_told(tmp_path: Path, document: object, words: str) -> None:
    config = requests(tmp_path, document)
    with pytest.raises(ModelInvalid) as caught:
        warm_up(EchoBackend(echo_metadata()), RunTimes(), config, tmp_path)
    assert words in str(caught.value)


def test_bfloat16_and_a_missing_file_are_told(tmp_path: Path) -> None:
    metadata = ModelMetadata("m", "1", "p", (TensorSpec("x", "BF16", (1,)),), ())
    config = requests(tmp_path, {"requests": [{"inputs": [{"name": "x", "shape": [1], "data": [1]}]}]})
    with pytest.raises(ModelInvalid, match=r"a BF16 tensor cannot be written in JSON; leave requests out"):
        warm_up(EchoBackend(metadata), RunTimes(), config, tmp_path)
    with pytest.raises(ModelNotFound, match=r"cannot read .*, the requests for the warm-up: No such file"):
        warm_up(EchoBackend(metadata), RunTimes(), ModelConfig(requests="none.json"), tmp_path)
