"""States on the device of their model, as the scheduler sees them: with what `Stateful` does around each run."""

import logging
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from mooring_runtime.backends.arena import Arena
from mooring_runtime.messages import Array
from mooring_runtime.metrics import ModelStats

if TYPE_CHECKING:
    from mooring_runtime.repository.stateful import Stateful

log = logging.getLogger(__name__)

_MOST_FAULTS = 3
"""Runs one after the other that went well only without the arena. One may be the model's: a device that was full for a
moment, or code that fails at times."""


class Held:
    """See `scheduling.runs.Arena`. The arena has some of the model's pairs; the others come as ever."""

    def __init__(self, stateful: "Stateful", arena: Arena) -> None:
        self._stateful = stateful
        self._arena = arena
        self._others = {name: pair for name, pair in stateful.given.items() if pair.input not in arena.inputs}
        self._faults = 0
        self.inputs = arena.inputs
        self.most = arena.most

    @property
    def arena(self) -> Arena:
        """What has them."""
        return self._arena

    def told_to(self, stats: ModelStats) -> None:
        """Let the numbers of the model tell of them."""
        arena = self._arena
        arena.count = stats.observe_states
        stats.state_bytes = lambda: arena.size

    def infer(
        self, inputs: Mapping[str, Array], states: Mapping[str, Sequence[Array]], outputs: Sequence[str], rows: int
    ) -> list[Array]:
        """`Stateful.infer` with `states` apart; see `Arena.infer`."""
        stateful = self._stateful
        feeds, windows = stateful.before(inputs, self._others)
        results = self._arena.infer(feeds, states, stateful.asked(outputs), rows)
        return stateful.after(results, outputs, windows, self._others, rows)

    def learn(self, outputs: Sequence[str], parts: Sequence[Sequence[Array]]) -> None:
        """See `Arena.learn`."""
        self._arena.learn(outputs, parts)
        self._faults = 0

    def blame(self, error: Exception) -> None:
        """The last run failed here and went well without; after a few of them the arena is given up."""
        self._faults += 1
        name = self._stateful.metadata.name
        if self._faults < _MOST_FAULTS:
            log.warning("model '%s': a run with states on its device failed, and went well without: %s", name, error)
            return
        log.error("model '%s' keeps no states on its device from now on: %s", name, error)
        self._stateful.arena = None
        self.close()

    def close(self) -> None:
        """Give back the memory."""
        self._stateful.memory -= self._arena.size
        self._arena.close()
