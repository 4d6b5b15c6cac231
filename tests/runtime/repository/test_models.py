import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from mooring_runtime.backends.base import Backend, Load, LoadOptions
from mooring_runtime.errors import DigestMismatch, ModelNotReady, ModelRefused, UnknownModel
from mooring_runtime.messages import Array, ModelMetadata
from mooring_runtime.metrics import ModelStats
from mooring_runtime.repository import Model, ModelSource, Repository, load_backend
from mooring_runtime.repository.models import warm_up
from mooring_runtime.scheduling.policy import RunTimes
from tests.support.serving import ALL, EchoBackend, echo_metadata

OPTIONS = LoadOptions("m", "1", 1)


def loads(backend: Backend) -> Load:
    """A `load` that gives this backend, whatever the file."""

    def load(file: Path, options: LoadOptions) -> Backend:
        return backend

    return load


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "m.onnx"
    path.write_bytes(b"the model")
    return path


def test_a_right_digest_is_loaded(file: Path) -> None:
    backend = EchoBackend(echo_metadata())
    digest = hashlib.sha256(b"the model").hexdigest()
    assert load_backend(ModelSource(file, None, digest), OPTIONS, lambda _: loads(backend)) is backend
    assert backend.runs == 0


def test_a_wrong_digest_is_not_loaded(file: Path) -> None:
    def load_format(_: str) -> Load:
        raise AssertionError("loaded before its digest was known")

    with pytest.raises(DigestMismatch) as caught:
        load_backend(ModelSource(file, None, "0" * 64), OPTIONS, load_format)
    found = hashlib.sha256(b"the model").hexdigest()
    assert str(caught.value) == f"m.onnx has the SHA-256 digest {found}, but {'0' * 64} was asked for"


def test_a_file_that_changes_while_it_is_loaded_is_not_served(file: Path) -> None:
    def load(file: Path, options: LoadOptions) -> Backend:
        file.write_bytes(b"another model")
        return EchoBackend(echo_metadata())

    with pytest.raises(DigestMismatch, match="was changed while it was loaded"):
        load_backend(ModelSource(file), OPTIONS, lambda _: load)


def test_the_format_is_found_by_the_suffix(file: Path) -> None:
    asked: list[str] = []

    def load_format(name: str) -> Load:
        asked.append(name)
        return loads(EchoBackend(echo_metadata()))

    load_backend(ModelSource(file), OPTIONS, load_format)
    assert asked == ["onnx"]


class Recorder(EchoBackend):
    def __init__(self, metadata: ModelMetadata) -> None:
        super().__init__(metadata)
        self.shapes: dict[str, tuple[int, ...]] = {}

    def infer(self, inputs: Mapping[str, Array], outputs: Sequence[str]) -> list[Array]:
        self.shapes = {name: array.shape for name, array in inputs.items()}
        return super().infer(inputs, outputs)


def test_warm_up_takes_every_datatype_in_its_smallest_shape() -> None:
    backend = Recorder(echo_metadata(ALL, (-1, 3)))
    times = RunTimes()
    warm_up(backend, times)
    assert backend.runs > 1
    assert set(backend.shapes.values()) == {(1, 3)}
    size = sum(array.nbytes for array in backend.infer({f"in_{n}": a for n, a in zeros().items()}, []))
    assert size == 0


def zeros() -> dict[str, Array]:
    return {}


def test_warm_up_learns_how_long_a_run_takes() -> None:
    times = RunTimes()
    warm_up(EchoBackend(echo_metadata(("FP32",), (-1, 4))), times)
    assert times.inline(16)


def test_a_model_that_takes_no_zeros_is_served_cold(caplog: pytest.LogCaptureFixture) -> None:
    def refuse() -> None:
        raise ModelRefused("no zeros")

    warm_up(EchoBackend(echo_metadata(), refuse), RunTimes())
    assert "model 'echo' does not like a warm-up with zeros, so it starts cold: no zeros" in caplog.text


def test_a_model_is_not_ready_before_it_is_loaded() -> None:
    repository = Repository()
    model = Model("m", ModelStats("m", "1"))
    repository.add(model)
    assert repository.not_ready() == "model 'm' is loading"
    with pytest.raises(ModelNotReady, match="model 'm' is loading"):
        _ = model.metadata
    model.serve(EchoBackend(echo_metadata()))
    assert repository.not_ready() is None
    assert model.stats.ready


def test_a_model_is_found_by_name_and_version() -> None:
    repository = Repository()
    model = Model("m", ModelStats("m", "1"))
    repository.add(model)
    assert repository.find("m", None) is model
    assert repository.find("m", "1") is model
    with pytest.raises(UnknownModel, match="unknown model 'n'; this server has 'm'"):
        repository.find("n", None)
    with pytest.raises(UnknownModel, match="model 'm' has no version 2; it has 1"):
        repository.find("m", "2")
