import asyncio
import threading
from pathlib import Path

import pytest

from mooring_runtime.backends.base import Backend, Load, LoadOptions, loader
from mooring_runtime.errors import (
    ControlDisabled,
    LoadFailed,
    ModelInvalid,
    ModelNotFound,
    ModelNotReady,
    NotInRepository,
    UnknownModel,
    UnsafeFormat,
)
from tests.support.repositories import Managed, managing, scaled, until, write

# --- start


async def test_many_models_and_versions(tmp_path: Path) -> None:
    scaled(tmp_path / "a/1/model.onnx", 2)
    scaled(tmp_path / "a/2/model.onnx", 3)
    scaled(tmp_path / "b/model.onnx", 4)
    write(tmp_path / "a/mooring.json", {"versions": "all"})
    async with managing(tmp_path) as managed:
        assert managed.repository.not_ready() is None
        assert managed.states() == {"a/1": "READY", "a/2": "READY", "b/1": "READY"}
        assert [await managed.ask("a", each) for each in ("1", "2", None)] == [2, 3, 3]
        assert await managed.ask("b") == 4
        assert managed.page.loads.ended["a"] == {"success": 2, "failure": 0}
        assert managed.page.loads.now["b", "1"].format == "onnx"


async def test_the_server_is_not_ready_before_all_are_loaded(tmp_path: Path) -> None:
    scaled(tmp_path / "a/model.onnx", 2)
    scaled(tmp_path / "b/model.onnx", 3)
    gate = threading.Event()

    def load_format(name: str) -> Load:
        assert gate.wait(2)
        return loader(name)

    managed = Managed(tmp_path, load_format)
    assert managed.repository.not_ready() == "the models are being looked for"
    starting = asyncio.ensure_future(managed.manager.start())
    await until(lambda: managed.states() == {"a/1": "LOADING", "b/1": "LOADING"})
    assert managed.repository.not_ready() == "model 'a' is loading"
    with pytest.raises(ModelNotReady, match=r"model 'b' is loading"):
        await managed.ask("b")
    gate.set()
    await starting
    assert managed.repository.not_ready() is None
    managed.manager.close()


@pytest.mark.parametrize(("strict", "ready"), [("true", False), ("false", True)])
async def test_a_model_that_fails_beside_others(tmp_path: Path, strict: str, ready: bool) -> None:
    scaled(tmp_path / "good/model.onnx", 2)
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad/model.onnx").write_bytes(b"garbage")
    (tmp_path / "empty").mkdir()
    async with managing(tmp_path, STRICT_READINESS=strict) as managed:
        assert managed.states() == {"bad/1": "UNAVAILABLE", "empty/1": "UNAVAILABLE", "good/1": "READY"}
        assert managed.reason("bad").startswith("model.onnx is no model that onnxruntime")
        assert managed.reason("empty").endswith("it has no files")
        assert await managed.ask("good") == 2
        with pytest.raises(ModelNotReady, match=r"model 'bad' is unavailable: model.onnx is no model that"):
            await managed.ask("bad")
        told = managed.repository.not_ready()
        assert (told is None) == ready
        assert ready or str(told).startswith("model 'bad' is unavailable: model.onnx is no model")
        assert managed.page.loads.ended["bad"] == {"success": 0, "failure": 1}


@pytest.mark.parametrize(("strict", "ready"), [("true", False), ("false", True)])
async def test_a_version_that_fails_beside_another_of_the_only_model(tmp_path: Path, strict: str, ready: bool) -> None:
    scaled(tmp_path / "a/1/model.onnx", 2)
    (tmp_path / "a/2").mkdir()
    (tmp_path / "a/2/model.onnx").write_bytes(b"garbage")
    write(tmp_path / "a/mooring.json", {"versions": "all"})
    async with managing(tmp_path, STRICT_READINESS=strict) as managed:
        assert managed.states() == {"a/1": "READY", "a/2": "UNAVAILABLE"}
        assert await managed.ask("a") == 2
        assert (managed.repository.not_ready() is None) == ready


async def test_a_configuration_that_is_wrong_is_a_failure_too(tmp_path: Path) -> None:
    scaled(tmp_path / "good/model.onnx", 2)
    scaled(tmp_path / "bad/model.onnx", 2)
    write(tmp_path / "bad/mooring.json", {"batching": {"max": 1}})
    async with managing(tmp_path) as managed:
        assert managed.states() == {"bad/": "UNAVAILABLE", "good/1": "READY"}
        assert "bad/mooring.json: batching has no key 'max'" in managed.reason("bad")
        assert "bad/mooring.json: batching has no key 'max'" in str(managed.repository.not_ready())


async def test_when_nothing_can_be_served_the_process_ends(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "model.onnx").write_bytes(b"garbage")
    managed = Managed(tmp_path)
    with pytest.raises(ModelInvalid, match=r"; model.onnx is no model"):
        await managed.manager.start()
    (tmp_path / "b" / "model.onnx").rename(tmp_path / "b" / "model.pt")
    (tmp_path / "a" / "model.onnx").unlink()
    (tmp_path / "a").rmdir()
    with pytest.raises(UnsafeFormat, match=r"^model.pt is TorchScript"):
        await Managed(tmp_path).manager.start()
    with pytest.raises(ModelNotFound, match=r"MOORING_MODEL_REPOSITORY is .*: it cannot be read"):
        await Managed(tmp_path / "missing").manager.start()


async def test_a_frameworks_own_failure_is_no_end_of_the_server(tmp_path: Path) -> None:
    scaled(tmp_path / "a/model.onnx", 2)
    scaled(tmp_path / "b/model.onnx", 2)

    def load(file: Path, options: LoadOptions) -> Backend:
        if options.name == "b":
            raise MemoryError("no room")
        return loader("onnx")(file, options)

    async with managing(tmp_path, lambda _: load) as managed:
        assert managed.states() == {"a/1": "READY", "b/1": "UNAVAILABLE"}
        assert managed.reason("b") == "MemoryError: no room"


async def test_only_the_models_that_are_named_are_loaded(tmp_path: Path) -> None:
    scaled(tmp_path / "a/model.onnx", 2)
    scaled(tmp_path / "b/model.onnx", 3)
    async with managing(tmp_path, LOAD_MODELS="b") as managed:
        assert managed.states() == {"a/": "UNAVAILABLE", "b/1": "READY"}
        assert managed.repository.not_ready() is None
        with pytest.raises(ModelNotReady, match=r"model 'a' is unavailable: not loaded"):
            await managed.ask("a")
        await managed.control.load("a")
        assert await managed.ask("a") == 2


class Gated:
    """Holds every load until `gate` is set, and counts the backends that are open."""

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.open = 0

    def __call__(self, name: str) -> Load:
        def load(file: Path, options: LoadOptions) -> Backend:
            assert self.gate.wait(2)
            backend = loader(name)(file, options)
            self.open += 1
            end = backend.close

            def close() -> None:
                self.open -= 1
                end()

            backend.close = close  # type: ignore[method-assign]
            return backend

        return load


async def test_an_unload_while_the_start_loads_comes_after_it(tmp_path: Path) -> None:
    scaled(tmp_path / "a/model.onnx", 2)
    formats = Gated()
    managed = Managed(tmp_path, formats)
    starting = asyncio.ensure_future(managed.manager.start())
    await until(lambda: managed.states() == {"a/1": "LOADING"})
    unloading = asyncio.ensure_future(managed.control.unload("a"))
    await asyncio.sleep(0)
    formats.gate.set()
    await asyncio.gather(starting, unloading)
    await managed.settled()
    assert managed.states() == {"a/": "UNAVAILABLE"}
    assert managed.repository.not_ready() is None
    assert (formats.open, managed.manager.held) == (0, 0)


async def test_a_load_while_the_start_loads_leaves_one_model(tmp_path: Path) -> None:
    scaled(tmp_path / "a/model.onnx", 2)
    formats = Gated()
    managed = Managed(tmp_path, formats)
    starting = asyncio.ensure_future(managed.manager.start())
    await until(lambda: managed.states() == {"a/1": "LOADING"})
    loading = asyncio.ensure_future(managed.control.load("a"))
    await asyncio.sleep(0)
    formats.gate.set()
    await asyncio.gather(starting, loading)
    await managed.settled()
    assert await managed.ask("a") == 2
    assert formats.open == 1
    await managed.control.unload("a")
    await managed.settled()
    assert (formats.open, managed.manager.held) == (0, 0)


async def test_what_clients_unloaded_before_its_turn_is_not_loaded_at_the_start(tmp_path: Path) -> None:
    scaled(tmp_path / "a/model.onnx", 2)
    scaled(tmp_path / "b/model.onnx", 3)
    managed = Managed(tmp_path)
    starting = asyncio.ensure_future(managed.manager.start())
    for _ in range(100_000):
        if "a/1" in managed.states():
            break
        await asyncio.sleep(0)  # Each turn of the loop is looked at: b's files are read in the next ones.
    assert managed.states() == {"a/1": "LOADING", "b/": "UNAVAILABLE"}
    await managed.control.unload("a")
    await starting
    assert managed.states() == {"a/": "UNAVAILABLE", "b/1": "READY"}
    assert managed.repository.not_ready() is None
    managed.manager.close()


# --- load and unload


async def test_without_permission_nobody_loads(tmp_path: Path) -> None:
    scaled(tmp_path / "a/model.onnx", 2)
    async with managing(tmp_path, MODEL_CONTROL="none") as managed:
        for change in (managed.control.load("a"), managed.control.unload("a")):
            with pytest.raises(ControlDisabled, match=r"MOORING_MODEL_CONTROL=none; set it to explicit") as caught:
                await change
        assert (caught.value.http_status, caught.value.retry_after) == (503, None)
        assert managed.states() == {"a/1": "READY"}


async def test_a_new_file_is_served_after_a_load_and_the_same_one_is_not_loaded_again(tmp_path: Path) -> None:
    scaled(tmp_path / "a/model.onnx", 2)
    async with managing(tmp_path) as managed:
        stats = managed.repository.find("a", None).stats
        scaled(tmp_path / "a/model.onnx", 5)
        assert await managed.ask("a") == 2
        await managed.control.load("a")
        assert await managed.ask("a") == 5
        await managed.control.load("a")
        assert managed.page.loads.ended["a"]["success"] == 2
        assert managed.repository.find("a", None).stats is stats
        assert stats.successes == 2
        await managed.settled()
        assert stats.ready


async def test_a_new_version_replaces_the_old_one(tmp_path: Path) -> None:
    scaled(tmp_path / "a/1/model.onnx", 2)
    async with managing(tmp_path) as managed:
        scaled(tmp_path / "a/2/model.onnx", 5)
        await managed.control.load("a")
        assert await managed.ask("a") == 5
        await managed.settled()
        assert managed.states() == {"a/2": "READY"}
        assert not managed.page.add("a", "1").ready
        with pytest.raises(UnknownModel, match=r"model 'a' has no version 1; it has 2"):
            await managed.ask("a", "1")


async def test_a_load_that_fails_leaves_what_serves(tmp_path: Path) -> None:
    scaled(tmp_path / "a/1/model.onnx", 2)
    async with managing(tmp_path) as managed:
        (tmp_path / "a/2").mkdir()
        (tmp_path / "a/2/model.onnx").write_bytes(b"garbage")
        with pytest.raises(LoadFailed, match=r"^failed to load 'a': model.onnx is no model"):
            await managed.control.load("a")
        assert await managed.ask("a") == 2
        assert managed.states() == {"a/1": "READY", "a/2": "UNAVAILABLE"}
        assert managed.repository.not_ready() is None
        (tmp_path / "a/1/model.onnx").write_bytes(b"garbage")
        with pytest.raises(LoadFailed):
            await managed.control.load("a", '{"version_policy": {"all": {}}}')
        assert await managed.ask("a", "1") == 2


async def test_what_clients_load_in_vain_takes_no_pod_out_of_service(tmp_path: Path) -> None:
    scaled(tmp_path / "a/model.onnx", 2)
    async with managing(tmp_path) as managed:
        (tmp_path / "new").mkdir()
        with pytest.raises(LoadFailed):
            await managed.control.load("new")
        assert managed.states()["new/1"] == "UNAVAILABLE"
        assert managed.repository.not_ready() is None


@pytest.mark.parametrize("name", ["missing", "..", "a/../a", ""])
async def test_a_name_that_is_not_there(tmp_path: Path, name: str) -> None:
    scaled(tmp_path / "a/model.onnx", 2)
    async with managing(tmp_path) as managed:
        with pytest.raises(NotInRepository, match=r"this server's repository has no model of that name") as caught:
            await managed.control.load(name)
        assert caught.value.http_status == 500
        with pytest.raises(UnknownModel):
            await managed.control.unload(name)
        assert managed.states() == {"a/1": "READY"}


async def test_unload_and_load_again(tmp_path: Path) -> None:
    scaled(tmp_path / "a/model.onnx", 2)
    async with managing(tmp_path) as managed:
        await managed.control.unload("a")
        await managed.settled()
        assert managed.states() == {"a/": "UNAVAILABLE"}
        assert managed.repository.not_ready() is None
        with pytest.raises(ModelNotReady, match=r"model 'a' is unavailable: unloaded"):
            await managed.ask("a")
        assert ("a", "1") not in managed.page.loads.now
        await managed.control.unload("a")
        await managed.control.load("a")
        assert await managed.ask("a") == 2


async def test_loads_of_the_same_model_join(tmp_path: Path) -> None:
    scaled(tmp_path / "a/model.onnx", 2)
    async with managing(tmp_path) as managed:
        scaled(tmp_path / "a/model.onnx", 3)
        first = asyncio.ensure_future(managed.control.load("a"))
        await asyncio.sleep(0)
        others = [asyncio.ensure_future(managed.control.load("a")) for _ in range(5)]
        first.cancel()
        await asyncio.gather(*others)
        assert managed.page.loads.ended["a"]["success"] == 2
        assert await managed.ask("a") == 3
