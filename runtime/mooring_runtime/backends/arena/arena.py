"""Runs of a model whose states have images on its device; `Memory` is what a framework does for it."""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, Protocol

import numpy as np

from mooring_runtime.backends.arena.index import Index, State
from mooring_runtime.errors import InferenceFailed
from mooring_runtime.messages import DATATYPES, Array, StatePair


class Sizes(NamedTuple):
    """Of an arena, in places and bytes."""

    slots: int
    most: int
    """Samples of the largest run."""
    staged: int
    """The first of the places behind the ring; those between are there for its address only."""
    size: int
    """Bytes of all places, those beside the ring too."""


class Memory(Protocol):
    """Places on a device for the images of states: `slots` in a ring, and behind them some for those that are sent.

    A place has one row of each pair, of `StatePair.shape` without its first size. Called by one thread at a time.
    """

    def stage(self, rows: Mapping[str, Array]) -> None:
        """Send states, by the input of their pair and one behind the other, to the places behind the ring."""

    def read(self, places: Sequence[int]) -> list[Array]:
        """What is in places, pair by pair."""

    def run(
        self, inputs: Mapping[str, Array], places: Sequence[int], outputs: Sequence[str], start: int
    ) -> list[Array]:
        """`Backend.infer` with the states of `places` beside `inputs`; as many next states go to `start` and after it.

        Those come in the form in which states are kept, with the sessions first; they may be views of their places, so
        that they are good until the next run. Raises as the framework does, and when a next state is not of its shape
        and datatype.
        """


class Arena:
    """A model's states on its device. Called by one thread at a time: `infer`, and `learn` if it went well."""

    def __init__(self, memory: Memory, pairs: Sequence[StatePair], index: Index, sizes: Sizes) -> None:
        self.inputs = tuple(pair.input for pair in pairs)
        """Of the model's inputs, those whose states it takes one by one."""
        self.most = sizes.most
        """Samples of the largest run that it can do."""
        self.size = sizes.size
        """Bytes of the device's memory; 0 when it is closed."""
        self.count: Callable[[int, int], object] = lambda found, sent: None
        """Told of each run how many states were found on the device, and how many had to be sent there."""
        self._memory: Memory | None = memory
        self._rows = {pair.input: ((1, *pair.shape[1:]), DATATYPES[pair.datatype].dtype) for pair in pairs}
        self._given = tuple(pair.output for pair in pairs)
        self._index = index
        self._staged = sizes.staged
        self._start = 0
        """Where the next states of the last run are."""

    def infer(
        self, inputs: Mapping[str, Array], states: Mapping[str, Sequence[Array]], outputs: Sequence[str], rows: int
    ) -> list[Array]:
        """Run once. `inputs` are those that are not here, of `rows` samples; `states` by input, one of each session.

        Where there are fewer than `rows`, the last one stands for the others. The results are as of `Backend.infer`,
        with the sessions of a state always first, and those that are states are to be copied before the next run.
        Raises whatever went wrong; no other state is touched by that.
        """
        assert self._memory is not None
        kept: list[State] = list(zip(*[states[name] for name in self.inputs], strict=True))
        staged, places = self._staged, []
        fresh: dict[tuple[int, ...], int] = {}
        sent: list[State] = []
        for state in kept:
            place = self._index.find(state)
            if place is None:
                # Once, however many sessions have it: all begin with the same.
                key = tuple(map(id, state))
                place = fresh.get(key)
                if place is None:
                    place = fresh[key] = staged + len(sent)
                    sent.append(state)
            places.append(place)
        found = sum([place < staged for place in places])
        if sent:
            self._memory.stage(self._joined(sent))
        # What is forgotten here is still there: the run reads all states before it writes the next ones.
        self._start = self._index.reserve(rows)
        places += places[-1:] * (rows - len(places))
        results = self._memory.run(inputs, places, outputs, self._start)
        self.count(found, len(kept) - found)
        return results

    def learn(self, outputs: Sequence[str], parts: Sequence[Sequence[Array]]) -> None:
        """What was made of the last run's results for each session, in the order of `outputs`: arrays of their own.

        From now on nobody can write to those that are states: their images would not follow.
        """
        columns = [outputs.index(name) for name in self._given]
        states: list[State] = [tuple([part[column] for column in columns]) for part in parts]
        for state in states:
            for array in state:
                array.flags.writeable = False
        self._index.learn(self._start, states)

    def shown(self, outputs: Sequence[str], parts: Sequence[Sequence[Array]]) -> bool:
        """Whether the device has what was just told to `learn`: for who wants to be sure, for it is fetched."""
        assert self._memory is not None
        found = self._memory.read(range(self._start, self._start + len(parts)))
        columns = [outputs.index(name) for name in self._given]
        return all(
            images.tobytes() == b"".join([part[column].tobytes() for part in parts])
            for images, column in zip(found, columns, strict=True)
        )

    def forget(self) -> None:
        """Find no state that was learned so far."""
        self._index = self._index.empty()

    def close(self) -> None:
        """Give back the memory; called once, after its last run."""
        self._memory = None
        self.size = 0
        self.forget()

    def _joined(self, states: Sequence[State]) -> dict[str, Array]:
        """States one behind the other. Raises InferenceFailed for one that would not fit into a place."""
        joined = {}
        for name, column in zip(self.inputs, zip(*states, strict=True), strict=True):
            shape, dtype = self._rows[name]
            for array in column:
                if array.shape != shape or array.dtype != dtype:
                    raise InferenceFailed(f"state '{name}' is {array.dtype} {list(array.shape)}, not {dtype} {shape}")
            joined[name] = np.concatenate(column)
        return joined
