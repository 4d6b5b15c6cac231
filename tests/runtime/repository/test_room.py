"""Models within a bound of bytes: who makes room, who waits for it, and how one that was unloaded comes back."""

import asyncio
from pathlib import Path
from random import Random

import pytest

from mooring_runtime.backends.base import Backend, Load, LoadOptions, loader
from mooring_runtime.errors import LoadFailed, ModelAsleep, ModelInvalid, ModelNotReady
from mooring_runtime.repository import State
from tests.support.repositories import Managed, managing, scaled, until, write

SIZE = 40_000
"""Bytes of each model, nearly."""


def three(root: Path) -> None:
    for factor, name in enumerate("abc", 1):
        scaled(root / name / "model.onnx", factor, SIZE)


def used(managed: Managed, *names: str) -> None:
    """The models were used in this order."""
    for moment, name in enumerate(names):
        managed.repository.find(name, None).stats.last = 2**50 + moment


async def wake(managed: Managed, name: str) -> float:
    with pytest.raises(ModelAsleep):
        await managed.ask(name)
    await until(lambda: managed.repository.find(name, None).state is State.READY)
    return await managed.ask(name)


async def test_at_the_start_as_many_as_fit_are_loaded(tmp_path: Path) -> None:
    three(tmp_path)
    async with managing(tmp_path, MAX_LOADED_BYTES="100000") as managed:
        assert sorted(managed.states().values()) == ["READY", "READY", "UNAVAILABLE"]
        assert managed.repository.not_ready() is None
        assert managed.reason("c") == "unloaded to make room, loaded when asked for"


async def test_the_one_unused_for_longest_makes_room_and_comes_back(tmp_path: Path) -> None:
    three(tmp_path)
    async with managing(tmp_path, MAX_LOADED_BYTES="100000") as managed:
        used(managed, "b", "a")
        with pytest.raises(
            ModelAsleep, match=r"model 'c' was unloaded to make room .* is being loaded again$"
        ) as caught:
            await managed.ask("c")
        assert (caught.value.http_status, caught.value.cause, caught.value.retry_after) == (503, "not_ready", 1)
        await until(lambda: managed.states()["c/1"] == "READY")
        assert await managed.ask("c") == 3
        assert managed.states() == {"a/1": "READY", "b/1": "UNAVAILABLE", "c/1": "READY"}
        assert not managed.page.add("b", "1").ready
        assert managed.control.config("b", None)["name"] == "b"
        used(managed, "a", "c")
        assert await wake(managed, "b") == 2
        assert managed.states() == {"a/1": "UNAVAILABLE", "b/1": "READY", "c/1": "READY"}
        assert managed.page.loads.ended["b"]["success"] == 2
        assert ("a", "1") not in managed.page.loads.now


async def test_many_requests_for_a_model_that_sleeps_load_it_once(tmp_path: Path) -> None:
    three(tmp_path)
    async with managing(tmp_path, MAX_LOADED_BYTES="100000") as managed:
        results = await asyncio.gather(*(managed.ask("c") for _ in range(20)), return_exceptions=True)
        assert {type(result) for result in results} == {ModelAsleep}
        await until(lambda: managed.states()["c/1"] == "READY")
        assert managed.page.loads.ended["c"]["success"] == 1


async def test_requests_that_the_evicted_model_has_accepted_are_answered(tmp_path: Path) -> None:
    three(tmp_path)
    async with managing(tmp_path, MAX_LOADED_BYTES="60000") as managed:
        accepted = [asyncio.ensure_future(managed.ask("a")) for _ in range(10)]
        await asyncio.sleep(0)
        await managed.control.load("c")
        assert await asyncio.gather(*accepted) == [1] * 10
        assert managed.states()["a/1"] == "UNAVAILABLE"


async def test_a_model_in_use_makes_room_only_when_none_is_at_rest(tmp_path: Path) -> None:
    three(tmp_path)
    async with managing(tmp_path, MAX_LOADED_BYTES="100000") as managed:
        used(managed, "a", "b")
        managed.repository.find("a", None).stats.load = lambda: (0, 1)
        await managed.control.load("c")
        assert managed.states() == {"a/1": "READY", "b/1": "UNAVAILABLE", "c/1": "READY"}
        used(managed, "a", "c")
        managed.repository.find("c", None).stats.load = lambda: (1, 0)
        assert await wake(managed, "b") == 2
        assert managed.states() == {"a/1": "UNAVAILABLE", "b/1": "READY", "c/1": "READY"}


async def test_a_model_that_can_never_fit_is_told(tmp_path: Path) -> None:
    scaled(tmp_path / "a/model.onnx", 2)
    scaled(tmp_path / "big/model.onnx", 3, SIZE)
    async with managing(tmp_path, MAX_LOADED_BYTES="20000") as managed:
        assert managed.states() == {"a/1": "READY", "big/1": "UNAVAILABLE"}
        words = r"model 'big' version 1 takes 40\d+ bytes, and MOORING_MAX_LOADED_BYTES is 20000: raise it above that"
        assert managed.repository.not_ready() is not None
        with pytest.raises(LoadFailed, match=words):
            await managed.control.load("big")
        assert managed.states()["a/1"] == "READY"
        scaled(tmp_path / "a/model.onnx", 4, 15_000)
        with pytest.raises(
            LoadFailed, match=r"[0-9]+ cannot be freed while it loads, .* is 20000: unload it first"
        ) as caught:
            scaled(tmp_path / "a/model.onnx", 4, 19_800)
            await managed.control.load("a")
        assert "takes 19" in str(caught.value) or "takes 20" in str(caught.value)
        assert await managed.ask("a") == 2


class Grown:
    """Loads models that take more memory than their files."""

    def __init__(self, factor: int) -> None:
        self.factor = factor

    def __call__(self, _: str) -> Load:
        def load(file: Path, options: LoadOptions) -> Backend:
            backend = loader("onnx")(file, options)
            backend.memory *= self.factor
            return backend

        return load


async def test_what_counts_is_what_the_loaded_model_takes(tmp_path: Path) -> None:
    three(tmp_path)
    async with managing(tmp_path, Grown(2), MAX_LOADED_BYTES="100000") as managed:
        assert sorted(managed.states().values()) == ["READY", "UNAVAILABLE", "UNAVAILABLE"]
    with pytest.raises(ModelInvalid, match=r"takes 1[0-9]{5} bytes"):
        await Managed(tmp_path, Grown(4), MAX_LOADED_BYTES="100000").manager.start()


async def test_a_model_that_cannot_be_woken_says_why_and_is_tried_again_later(tmp_path: Path) -> None:
    three(tmp_path)
    async with managing(tmp_path, MAX_LOADED_BYTES="100000") as managed:
        (tmp_path / "c/model.onnx").write_bytes(b"garbage")
        with pytest.raises(ModelAsleep):
            await managed.ask("c")
        await until(lambda: managed.reason("c").startswith("model.onnx is no model"))
        with pytest.raises(ModelAsleep, match=r"the last try failed: model.onnx is no model") as caught:
            await managed.ask("c")
        assert 8 <= (caught.value.retry_after or 0) <= 11
        assert managed.page.loads.ended["c"] == {"success": 0, "failure": 1}
        assert managed.repository.not_ready() is None
        scaled(tmp_path / "c/model.onnx", 9, SIZE)
        await managed.control.load("c")
        assert await managed.ask("c") == 9


async def test_versions_sleep_one_by_one(tmp_path: Path) -> None:
    for version in (1, 2, 3):
        scaled(tmp_path / f"a/{version}/model.onnx", version, SIZE)
    write(tmp_path / "a/mooring.json", {"versions": "all"})
    async with managing(tmp_path, MAX_LOADED_BYTES="100000") as managed:
        assert managed.states() == {"a/1": "READY", "a/2": "READY", "a/3": "UNAVAILABLE"}
        assert managed.control.versions("a") == ["1", "2", "3"]
        assert await wake(managed, "a") == 3
        assert managed.states()["a/3"] == "READY"
        await managed.control.unload("a")
        await managed.settled()
        assert managed.states() == {"a/": "UNAVAILABLE"}


async def test_to_ask_whether_a_model_is_ready_wakes_nobody(tmp_path: Path) -> None:
    three(tmp_path)
    async with managing(tmp_path, MAX_LOADED_BYTES="100000") as managed:
        with pytest.raises(ModelNotReady, match="model 'c' was unloaded to make room; a request for it loads it again"):
            managed.plane.require_ready("c", None)
        await asyncio.sleep(0)
        assert managed.states()["c/1"] == "UNAVAILABLE"
        with pytest.raises(ModelAsleep):
            managed.plane.metadata("c", None)
        await until(lambda: managed.states()["c/1"] == "READY")


async def test_what_leaves_is_waited_for_before_others_are_unloaded(tmp_path: Path) -> None:
    three(tmp_path)
    async with managing(tmp_path, MAX_LOADED_BYTES="100000") as managed:
        used(managed, "b", "a")
        await managed.control.unload("a")
        await managed.control.load("c")
        assert managed.states() == {"a/": "UNAVAILABLE", "b/1": "READY", "c/1": "READY"}
        scaled(tmp_path / "b/model.onnx", 7, 100)
        await managed.control.load("b")
        scaled(tmp_path / "a/model.onnx", 8, SIZE)
        await managed.control.load("a")
        assert (await managed.ask("a"), await managed.ask("b"), await managed.ask("c")) == (8, 7, 3)


async def test_whoever_answers_is_the_model_that_was_asked(tmp_path: Path) -> None:
    """Clients, loads, unloads and evictions at random: an answer is the right one, or says that the model is away."""
    random = Random(4)
    names = "abcdef"
    for number, name in enumerate(names):
        scaled(tmp_path / name / "model.onnx", 10 * number, SIZE)
    async with managing(tmp_path, MAX_LOADED_BYTES="125000") as managed:
        seen: dict[str, int] = dict.fromkeys(names, 0)
        leave = asyncio.Event()

        async def client() -> None:
            while not leave.is_set():
                name = random.choice(names)
                try:
                    number = await managed.ask(name)
                except ModelNotReady:
                    await asyncio.sleep(0.001)
                else:
                    assert int(number) // 10 == names.index(name)
                    seen[name] += 1

        clients = [asyncio.ensure_future(client()) for _ in range(6)]
        for turn in range(40):
            name = random.choice(names)
            if random.random() < 0.3:
                await managed.control.unload(name)
            else:
                scaled(tmp_path / name / "model.onnx", 10 * names.index(name) + turn % 10, SIZE)
                await managed.control.load(name)
            assert managed.manager.held <= 125_000
        leave.set()
        await asyncio.gather(*clients)
        await managed.settled()
        assert sum(seen.values()) > 20
