"""What goes on beside requests: work on the event loop that is kept until it ends, and work on threads."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from mooring_runtime.repository.loading import in_thread

Result = TypeVar("Result")


class Tasks:
    """Tasks that nobody may be waiting for; the event loop itself keeps none of them alive."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()

    def spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Begin a task. Whoever waits for it is told how it failed; when nobody does, that is no complaint."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            task.exception()

    def close(self) -> None:
        """Give up what goes on."""
        for task in self._tasks:
            task.cancel()


async def on_thread(work: Callable[[], Result]) -> Result:
    """Run what blocks."""
    return await asyncio.wrap_future(in_thread(work))
