"""A repository of models on disk, and what loads them, without a server around it."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import numpy as np

from mooring_runtime.backends.base import Load, loader
from mooring_runtime.dataplane import DataPlane
from mooring_runtime.dataplane.control import Control
from mooring_runtime.errors import RequestError
from mooring_runtime.messages import InferRequest, InferResponse, Tensor
from mooring_runtime.metrics import MetricsPage
from mooring_runtime.repository import Manager, Repository, stock_of
from mooring_runtime.settings import ServeSettings, load
from tests.support import models


def scaled(file: Path, factor: float, padding: int = 0) -> Path:
    """A model with `x` [n] to `y` [n], `factor` times as much; `padding` is bytes of weights that nothing uses."""
    file.parent.mkdir(parents=True, exist_ok=True)
    return models.scaled(file, factor, padding)


def write(file: Path, document: object) -> Path:
    """A JSON file."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(document))
    return file


class Managed:
    """A manager and what it fills, for the models below `root`; settings as `MORE="text"`."""

    def __init__(self, root: Path, load_format: Callable[[str], Load] = loader, **settings: str) -> None:
        given = {"MODEL_REPOSITORY": str(root), "MODEL_CONTROL": "explicit", "THREADS": "1", **settings}
        self.settings = load(ServeSettings, {f"MOORING_{name}": text for name, text in given.items()})
        self.repository = Repository()
        self.page = MetricsPage()
        self.manager = Manager(self.repository, stock_of(self.settings), self.settings, self.page, load_format)
        self.control = Control(self.repository, self.manager)
        self.plane = DataPlane(self.repository)

    async def ask(self, name: str, version: str | None = None) -> float:
        """Ask a `scaled` model for 1.0: its factor, which tells which of the models it was. Raises what it answers."""
        tensor = Tensor("x", "FP32", np.array([1.0], np.float32))
        answer: asyncio.Future[InferResponse | RequestError] = asyncio.get_running_loop().create_future()
        self.plane.infer(name, version, lambda _: InferRequest((tensor,)), answer.set_result)
        response = await asyncio.wait_for(answer, 5)
        if isinstance(response, RequestError):
            raise response
        return float(response.outputs[0].array[0])

    def states(self) -> dict[str, str]:
        """State by `NAME/VERSION`."""
        return {f"{entry.name}/{entry.version}": entry.state for entry in self.control.index(ready_only=False)}

    def reason(self, name: str) -> str:
        """The reason of the first version of a name."""
        return next(entry.reason for entry in self.control.index(ready_only=False) if entry.name == name)

    async def settled(self) -> None:
        """Wait until what leaves has left."""
        await until(lambda: not self.manager.leaving)


async def until(fact: Callable[[], object]) -> None:
    """Let the loop turn until this is so."""
    for _ in range(1000):
        if fact():
            return
        await asyncio.sleep(0.002)
    raise AssertionError("it did not come to that within 2 s")


@contextlib.asynccontextmanager
async def managing(root: Path, load_format: Callable[[str], Load] = loader, **settings: str) -> AsyncIterator[Managed]:
    """A manager that has loaded what it was told to."""
    managed = Managed(root, load_format, **settings)
    await managed.manager.start()
    try:
        yield managed
    finally:
        managed.manager.close()
