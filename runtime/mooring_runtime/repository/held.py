"""States on the device of their model, as the scheduler sees them: with what `Stateful` does around each run."""

import logging
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from mooring_runtime.messages import Array
from mooring_runtime.metrics import ModelStats

if TYPE_CHECKING:
    from mooring_runtime.backends.arena import Arena
    from mooring_runtime.repository.stateful import Stateful

log = logging.getLogger(__name__)

_FULL = re.compile("out of memory|failed to allocate memory|_ALLOC_FAILED", re.IGNORECASE)
"""How torch and CUDA, onnxruntime, and the libraries of CUDA say that a device is full."""


class Held:
    """See `scheduling.runs.Arena`. The arena has some of the model's pairs; the others come as ever."""

    def __init__(self, stateful: "Stateful", arena: "Arena") -> None:
        self._stateful = stateful
        self._arena = arena
        self._others = {name: pair for name, pair in stateful.given.items() if pair.input not in arena.inputs}
        self.inputs = arena.inputs
        self.most = arena.most

    @property
    def arena(self) -> "Arena":
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

    def blame(self, fault: str) -> None:
        """The last run failed here and went well without: the arena is given up."""
        self.give_up(f"a run with states there failed, and went well without: {fault}")

    def makes_room(self, error: Exception) -> bool:
        """Whether a run that failed without it may go well now: the device was full, and the arena is given up."""
        if not _FULL.search(str(error)):
            return False
        self.give_up(f"the device is full: {error}")
        return True

    def give_up(self, reason: str) -> None:
        """Send states for each run from now on, and say so loudly; nothing is lost by it but time."""
        log.error(
            "model '%s' keeps no states on its device, and is sent them for each run: %s "
            "(MOORING_DEVICE_STATE=0 leaves them out from the start)",
            self._stateful.metadata.name,
            " ".join(reason.split()),  # onnxruntime's words are of several lines.
        )
        self._stateful.arena = None
        self._stateful.lost = True
        self.close()

    def close(self) -> None:
        """Give back the memory."""
        self._stateful.memory -= self._arena.size
        self._arena.close()
