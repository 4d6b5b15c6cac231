import asyncio
import hashlib
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from mooring_runtime.backends.base import Backend, Load, LoadOptions
from mooring_runtime.errors import DigestMismatch, ModelAsleep, ModelInvalid, ModelNotReady, UnknownModel
from mooring_runtime.messages import InferRequest, InferResponse, Tensor, Traits
from mooring_runtime.metrics import ModelStats
from mooring_runtime.repository import Model, ModelSource, Repository, State, load_backend
from mooring_runtime.repository.config import ModelConfig
from tests.support.serving import Apart, EchoBackend, Served, echo_metadata

OPTIONS = LoadOptions("m", "1", 1)


def loads(backend: Backend) -> Load:
    """A `load` that gives this backend, whatever the file."""

    def load(file: Path, options: LoadOptions) -> Backend:
        return backend

    return load


class Closable(EchoBackend):
    """Remembers that it was closed."""

    def __init__(self, hook: Callable[[], None] = lambda: None) -> None:
        super().__init__(echo_metadata(), hook)
        self.closed = threading.Event()

    def close(self) -> None:
        assert not self.closed.is_set()
        self.closed.set()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "m.onnx"
    path.write_bytes(b"the model")
    return path


def test_a_right_digest_is_loaded(file: Path) -> None:
    backend = EchoBackend(echo_metadata())
    digest = hashlib.sha256(b"the model").hexdigest()
    assert load_backend(ModelSource(file, None, digest), OPTIONS, lambda _: loads(backend)).backend is backend
    assert backend.runs == 0


@pytest.mark.parametrize(
    ("stated", "preferred", "shape", "most", "limit"),
    [
        (None, (64, 128), (-1, 2), 128, None),
        (None, (8,), (-1, 2), 32, None),
        (64, (16, 48), (-1, 2), 64, 64),
        (None, (64,), (4, 2), 0, None),
    ],
)
def test_a_run_may_have_the_largest_preferred_size(
    file: Path, stated: int | None, preferred: tuple[int, ...], shape: tuple[int, ...], most: int, limit: int | None
) -> None:
    config = ModelConfig(max_batch=stated, preferred=preferred)
    backend = EchoBackend(echo_metadata(shape=shape).with_traits(Traits(stated)))
    load_backend(ModelSource(file, config=config), OPTIONS, lambda _: loads(backend))
    assert (backend.metadata.max_batch, backend.metadata.batch_limit) == (most, limit)
    model = Model("m", ModelStats("m", "1"))
    model.serve(backend, config)
    assert model.batcher._preferred == (preferred if most else ())


def test_a_wrong_digest_is_not_loaded(file: Path) -> None:
    def load_format(_: str) -> Load:
        raise AssertionError("loaded before its digest was known")

    with pytest.raises(DigestMismatch) as caught:
        load_backend(ModelSource(file, None, "0" * 64), OPTIONS, load_format)
    found = hashlib.sha256(b"the model").hexdigest()
    assert str(caught.value) == f"m.onnx has the SHA-256 digest {found}, but {'0' * 64} was asked for"


def test_a_file_that_changes_while_it_is_loaded_is_not_served(file: Path) -> None:
    backend = Closable()

    def load(file: Path, options: LoadOptions) -> Backend:
        file.write_bytes(b"another model")
        return backend

    with pytest.raises(DigestMismatch, match="was changed while it was loaded"):
        load_backend(ModelSource(file), OPTIONS, lambda _: load)
    assert backend.closed.is_set()


def test_the_format_is_found_by_the_suffix(file: Path) -> None:
    asked: list[str] = []

    def load_format(name: str) -> Load:
        asked.append(name)
        return loads(EchoBackend(echo_metadata()))

    assert load_backend(ModelSource(file), OPTIONS, load_format).format == "onnx"
    assert asked == ["onnx"]


def test_labels_of_what_is_no_output_are_refused(file: Path) -> None:
    source = ModelSource(file, config=ModelConfig(labels={"out": ("a", "b")}))
    words = "labels has 'out', which is no output of model 'echo'; its outputs are out_FP32"
    with pytest.raises(ModelInvalid, match=words):
        load_backend(source, OPTIONS, lambda _: loads(EchoBackend(echo_metadata())))


@pytest.mark.parametrize(
    ("stated", "shape", "warned"),
    [(8, (2, 2), True), (8, (-1, 2), False), (1, (2, 2), False), (None, (2, 2), False)],
)
def test_a_bound_of_batches_that_has_no_effect_is_told(
    file: Path, caplog: pytest.LogCaptureFixture, stated: int | None, shape: tuple[int, ...], warned: bool
) -> None:
    backend = EchoBackend(echo_metadata(("FP32",), shape).with_traits(Traits(stated)))
    load_backend(ModelSource(file, config=ModelConfig(max_batch=stated)), OPTIONS, lambda _: loads(backend))
    warnings = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert len(warnings) == warned
    assert all("version 1 has batching.maxSize 8, which has no effect: " in line for line in warnings)


# --- the table


def model(version: str = "1", name: str = "m") -> Model:
    return Model(name, ModelStats(name, version), version)


def serving(version: str = "1") -> Model:
    found = model(version)
    found.serve(EchoBackend(echo_metadata()))
    return found


def table(*models: Model) -> Repository:
    repository = Repository()
    for each in models:
        repository.add(each)
    return repository


def test_a_model_is_not_ready_before_it_is_loaded() -> None:
    loading = model()
    repository = table(loading)
    assert repository.not_ready() == "model 'm' is loading"
    with pytest.raises(ModelNotReady, match="model 'm' is loading"):
        _ = loading.metadata
    loading.serve(EchoBackend(echo_metadata()))
    assert repository.not_ready() is None
    assert loading.stats.ready


def test_a_model_is_found_by_name_and_version() -> None:
    found = model()
    repository = table(found)
    assert repository.find("m", None) is found
    assert repository.find("m", "1") is found
    with pytest.raises(UnknownModel, match="unknown model 'n'; this server has 'm'"):
        repository.find("n", None)
    with pytest.raises(UnknownModel, match="model 'm' has no version 2; it has 1"):
        repository.find("m", "2")


def test_many_names_do_not_all_stand_in_a_message() -> None:
    repository = table(*(model(name=f"m{index}") for index in range(20)))
    with pytest.raises(UnknownModel, match=r"'m8', 'm9', \.\.\.$"):
        repository.find("n", None)


def test_the_highest_version_that_serves_answers() -> None:
    second, tenth, loading = serving("2"), serving("10"), model("11")
    repository = table(tenth, loading, second)
    assert repository.find("m", None) is tenth
    assert repository.find("m", "11") is loading
    loading.serve(EchoBackend(echo_metadata()))
    repository.refresh("m")
    assert repository.find("m", None) is loading
    repository.remove(loading)
    assert repository.find("m", None) is tenth


def test_who_sleeps_is_not_passed_over_for_an_older_version() -> None:
    old, asleep = serving("1"), model("2")
    asleep.state = State.UNAVAILABLE
    asked = []

    def wake() -> int:
        asked.append(1)
        return 7

    asleep.wake = wake
    repository = table(old, asleep)
    assert repository.find("m", None) is asleep
    with pytest.raises(ModelAsleep, match="unloaded to make room for others and is being loaded again") as caught:
        _ = asleep.batcher
    assert (caught.value.retry_after, asked) == (7, [1])
    assert repository.not_ready() is None


def test_another_load_of_a_version_stays_when_the_old_one_goes() -> None:
    old, new = serving(), serving()
    repository = table(old)
    repository.add(new)
    repository.remove(old)
    assert repository.find("m", None) is new


async def test_a_retired_model_answers_what_it_has_and_is_closed_then() -> None:
    gate = threading.Event()
    backend = Closable(lambda: check(gate.wait(1)))
    served = Served(backend=backend, times=Apart())
    answers: list[object] = []
    tensor = Tensor("in_FP32", "FP32", np.zeros((1, 2), np.float32))
    for _ in range(3):
        served.plane.infer("echo", None, lambda _: InferRequest((tensor,)), answers.append)
    leaving = asyncio.ensure_future(served.model.retire())
    await asyncio.sleep(0)
    with pytest.raises(ModelNotReady):
        _ = served.model.batcher
    assert not leaving.done()
    gate.set()
    await leaving
    assert [type(answer) for answer in answers] == [InferResponse] * 3
    assert backend.closed.is_set()
    await served.model.retire()


def check(fact: bool) -> None:
    assert fact
