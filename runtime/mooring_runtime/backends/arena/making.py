"""How large an arena is, and whether it can be had."""

import logging
from collections.abc import Callable, Sequence

import numpy as np

from mooring_runtime.backends.arena.arena import Arena, Memory, Sizes
from mooring_runtime.backends.arena.index import Index
from mooring_runtime.messages import DATATYPES, Array, StatePair

log = logging.getLogger(__name__)

MOST_SLOTS = 2**16
"""Of one ring. Each costs the host some 400 bytes of the index, and states that nobody will ask for again stay until
the head comes by."""
SPARE = 3
"""Times the largest run, places beside the ring: for states that are sent, that the model is given, and that it gives
where they cannot be written where they belong."""
_WIDEST = SPARE + 2
"""The least places for each sample of the largest run: in a ring shorter than two runs nothing would be found."""


def row_bytes(pairs: Sequence[StatePair]) -> int:
    """Bytes of the state of one session."""
    return sum(int(np.prod(pair.shape)) * DATATYPES[pair.datatype].dtype.itemsize for pair in pairs)


def sizes(pairs: Sequence[StatePair], most: int, limit: int, step: int = 1) -> Sizes | None:
    """What fits into `limit` bytes with runs of `most` samples, or of fewer; None: not even runs of one.

    The places behind the ring begin at a multiple of `step`, as the blocks in it do: a kernel that writes several
    elements at once fails at another address, and no run goes well on a device where one has. Where the ring is shorter
    than a step, that takes a part of a step more than `limit`.
    """
    row = row_bytes(pairs)
    places = limit // row if row else 0
    most = min(most, places // _WIDEST, MOST_SLOTS // 2)
    if not most:
        return None
    slots = min(places - SPARE * most, MOST_SLOTS)
    if slots > step:
        slots -= slots % step
    staged = -(-slots // step) * step
    return Sizes(slots, most, staged, (staged + SPARE * most) * row)


def make(
    reserve: Callable[[Sizes], Memory],
    pairs: Sequence[StatePair],
    most: int,
    limit: int,
    *,
    model: str,
    step: int = 1,
) -> Arena | None:
    """An arena for runs of `most` samples on the memory that `reserve` gives; None where `limit` is too little for one.

    It has at most `limit` bytes. Blocks of next states begin at multiples of `step`. The memory first has to show
    that it gives back what it was given. Raises whatever the framework does, as it may on a device that is full.
    """
    found = sizes(pairs, most, limit, step)
    if found is None:
        log.info(
            "model '%s' keeps no states on its device: a session has %d bytes, and for runs of one sample "
            "MOORING_DEVICE_STATE must be %d times as much",
            model,
            row_bytes(pairs),
            _WIDEST,
        )
        return None
    memory = reserve(found)
    _prove(memory, pairs, found)
    log.info("model '%s' keeps states on its device: the last %d, in %d bytes", model, found.slots, found.size)
    return Arena(memory, pairs, Index(found.slots, step), found)


def _prove(memory: Memory, pairs: Sequence[StatePair], found: Sizes) -> None:
    """Raise ValueError unless states come back as they were put there: of any datatype, as no model could show it."""
    count = min(found.most, 2)
    rows = {pair.input: _differing(pair, count) for pair in pairs}
    memory.stage(rows)
    places = range(found.staged, found.staged + count)
    for pair, back in zip(pairs, memory.read(places[::-1]), strict=True):
        if back.tobytes() != rows[pair.input][::-1].tobytes():
            raise ValueError(f"the state '{pair.input}' came back as another")


def _differing(pair: StatePair, count: int) -> Array:
    """States no two of which, one beside the other, are the same."""
    shape = (count, *pair.shape[1:])
    every = np.add.outer(np.arange(count), np.arange(int(np.prod(pair.shape)))) % 2
    return every.reshape(shape).astype(DATATYPES[pair.datatype].dtype)
