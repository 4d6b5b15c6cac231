"""What is to go to one receiver, and how much of it with one message. Pure."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from itertools import chain

from mooring_runtime.sessions.copies import Target
from mooring_runtime.sessions.encoding import Packed
from mooring_runtime.sessions.keys import Key

MOST_BYTES = 8 * 2**20
"""Of states that are frozen at a time for one receiver, and of states and replies in one message; one session may be
larger."""


class Way:
    """The sessions that are to go to one receiver."""

    def __init__(self) -> None:
        self.frozen: dict[Target, list[Key]] = defaultdict(list)
        self.held: list[Key] = []
        self.lost: dict[Key, int] = {}
        """Frozen, for a store that was given up, and since when they were here."""

    def __iter__(self) -> Iterator[Key]:
        return chain(self.lost, *self.frozen.values(), self.held)


def parts(batch: Sequence[Packed]) -> Iterator[list[Packed]]:
    """The same sessions, as many at a time as fit into one message."""
    part: list[Packed] = []
    size = 0
    for handed in batch:
        weight = handed.kept.copy.size + sum(reply.size for reply in handed.kept.replies)
        if part and size + weight > MOST_BYTES:
            yield part
            part, size = [], 0
        part.append(handed)
        size += weight
    if part:
        yield part
