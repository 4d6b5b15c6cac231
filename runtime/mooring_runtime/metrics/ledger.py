"""What several processes have counted together, so that the sum never shrinks when one of them ends. Pure."""

from collections.abc import Callable, Iterable
from typing import Generic, TypeVar

Numbers = TypeVar("Numbers")


class Ledger(Generic[Numbers]):
    """The numbers of the workers of one server, those that have ended included.

    A worker that dies takes what it counted after it was last asked with it, which nobody had seen.
    """

    def __init__(self, merge: Callable[[Iterable[Numbers]], Numbers], kept: Callable[[Numbers], Numbers]) -> None:
        """`merge` makes one of several; `kept` leaves of one's numbers what still counts after its end."""
        self._merge = merge
        self._kept = kept
        self._last: dict[int, Numbers] = {}
        self._ended = merge(())

    def update(self, worker: int, numbers: Numbers) -> None:
        """A worker has told its numbers. They stand for it until it tells others or ends."""
        self._last[worker] = numbers

    def end(self, worker: int) -> None:
        """A worker has ended; another may come under the same number."""
        if worker in self._last:
            self._ended = self._merge((self._ended, self._kept(self._last.pop(worker))))

    def total(self) -> Numbers:
        """The numbers of the whole server."""
        return self._merge((self._ended, *self._last.values()))
