"""Reloads while requests are under way: none fails, and each is answered by the model that accepted it."""

import asyncio
import threading
from pathlib import Path

import numpy as np
import pytest

from mooring_runtime.backends.base import Backend, LoadOptions, loader
from mooring_runtime.errors import (
    ModelNotReady,
    RequestError,
)
from mooring_runtime.messages import InferRequest, InferResponse, Tensor
from tests.support.repositories import managing, scaled, until
from tests.support.serving import EchoBackend, echo_metadata


class Gated(EchoBackend):
    """A run waits for the gate."""

    def __init__(self, gate: threading.Event) -> None:
        super().__init__(echo_metadata(name="a"), self._wait)
        self.gate = gate
        self.ended = False

    def _wait(self) -> None:
        assert self.gate.wait(5)
        assert not self.ended

    def close(self) -> None:
        self.ended = True


async def test_requests_on_the_old_model_are_answered_by_it(tmp_path: Path) -> None:
    scaled(tmp_path / "a/model.onnx", 2)
    gate = threading.Event()
    gate.set()
    made: list[Gated] = []

    def load(file: Path, options: LoadOptions) -> Backend:
        made.append(Gated(gate))
        return made[-1]

    async with managing(tmp_path, lambda _: load, WARMUP="0") as managed:
        gate.clear()
        answers: list[InferResponse | RequestError] = []
        tensor = Tensor("in_FP32", "FP32", np.zeros((1, 2), np.float32))
        for _ in range(5):
            managed.plane.infer("a", None, lambda _: InferRequest((tensor,)), answers.append)
        scaled(tmp_path / "a/model.onnx", 3)
        await managed.control.load("a")
        old, new = made
        assert managed.manager.leaving == 1
        assert [name for name, _ in managed.manager.busy()] == ["a"]
        assert not old.ended
        gate.set()
        await managed.settled()
        assert [type(answer) for answer in answers] == [InferResponse] * 5
        assert (old.ended, new.ended, new.runs) == (True, False, 0)


async def test_no_request_fails_while_models_are_reloaded(tmp_path: Path) -> None:
    scaled(tmp_path / "a/model.onnx", 1)
    async with managing(tmp_path) as managed:
        seen: list[float] = []
        leave = asyncio.Event()

        async def client() -> None:
            while not leave.is_set():
                seen.append(await managed.ask("a"))

        clients = [asyncio.ensure_future(client()) for _ in range(8)]
        for factor in range(2, 12):
            scaled(tmp_path / "a/model.onnx", factor)
            await managed.control.load("a")
            assert await managed.ask("a") == factor
        leave.set()
        await asyncio.gather(*clients)
        assert set(seen) <= set(range(1, 12))
        assert len(set(seen)) > 5
        assert managed.page.add("a", "1").failures.total() == 0


async def test_what_changes_while_a_load_runs_is_for_the_next_one(tmp_path: Path) -> None:
    scaled(tmp_path / "a/model.onnx", 2)
    reached, gate = threading.Event(), threading.Event()

    def load(file: Path, options: LoadOptions) -> Backend:
        backend = loader("onnx")(file, options)
        reached.set()
        assert gate.wait(5)
        return backend

    gate.set()
    async with managing(tmp_path, lambda _: load) as managed:
        gate.clear()
        reached.clear()
        scaled(tmp_path / "a/model.onnx", 3)
        first = asyncio.ensure_future(managed.control.load("a"))
        await until(reached.is_set)
        scaled(tmp_path / "a/2/model.onnx", 4)
        second = asyncio.ensure_future(managed.control.load("a"))
        await asyncio.sleep(0)
        gate.set()
        await first
        assert await managed.ask("a", "1") == 3
        await second
        assert await managed.ask("a") == 4


async def test_an_unload_waits_for_the_load_before_it(tmp_path: Path) -> None:
    scaled(tmp_path / "a/model.onnx", 2)
    async with managing(tmp_path) as managed:
        scaled(tmp_path / "a/model.onnx", 3)
        loading = asyncio.ensure_future(managed.control.load("a"))
        await asyncio.sleep(0.001)
        await managed.control.unload("a")
        assert managed.page.loads.ended["a"]["success"] == 2
        await loading
        with pytest.raises(ModelNotReady, match="model 'a' is un"):
            await managed.ask("a")
