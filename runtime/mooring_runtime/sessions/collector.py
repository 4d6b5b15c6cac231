"""Keeps the collector of garbage away from sessions, which are none: to look at all of them would hold the loop."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager

MANY = 5_000
"""Sessions, and states in memory, that it may look at."""


class Frozen:
    """What it takes no notice of any more: a full collection holds the loop for 0.1 s with 100,000 sessions, and for
    1 s with their states in memory.
    """

    def __init__(self) -> None:
        self.enough = MANY
        """What is more than this is worth a call of `grown`."""

    def grown(self, size: int) -> None:
        """There are so many sessions and states in memory. Only what is more than ever before is frozen, so that it
        comes to an end: what else is alive then, such as connections, stays in memory if it becomes garbage in cycles.
        """
        if size > self.enough:
            self.enough = size + MANY
            gc.freeze()


@contextmanager
def no_collections() -> Iterator[None]:
    """None while many sessions are made: each would look at all that there are so far, and find nothing."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
