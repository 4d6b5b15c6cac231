"""Loads and unloads of all workers when none is there for them."""

from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from mooring_runtime.errors import ModelNotReady
from mooring_runtime.workers.commands import Commands
from mooring_runtime.workers.process import Worker

VALUE = {"name": "m", "config": None, "files": None}
TOLD = "no worker could {} model 'm': the workers are starting; try again"


def starting() -> Worker:
    """A worker whose process is not there yet."""
    return Worker(0, {}, {})


def gone() -> Worker:
    """A worker that has served, and whose process has just ended."""
    worker = starting()
    worker.current = True
    worker.link._lost = True
    return worker


def asked(commands: Commands, what: str) -> Callable[[Any], Coroutine[Any, Any, None]]:
    return commands.load if what == "load" else commands.unload


@pytest.mark.parametrize("what", ["load", "unload"])
async def test_no_worker_can_do_it_yet(what: str) -> None:
    for workers in ([], [starting()], [gone()]):
        commands = Commands(lambda workers=workers: workers)  # type: ignore[misc]
        with pytest.raises(ModelNotReady) as caught:
            await asked(commands, what)(VALUE)
        assert str(caught.value) == TOLD.format(what)
        assert commands._models == {}, "the workers to come must not do what was refused"
