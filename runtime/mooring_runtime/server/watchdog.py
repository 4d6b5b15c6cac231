"""Notices a model that hangs: a run on a thread that does not end, or one on the event loop, which then stands still.

A run on a thread makes the server not live, which the kubelet asks and acts on. A loop that stands still answers no
probe at all, and no signal either; a thread notices it, and the process ends by itself, at once instead of after the
probes' time and the pod's grace period.
"""

import asyncio
import logging
import sys
import threading
import traceback
from collections.abc import Callable, Iterable

log = logging.getLogger(__name__)

_LONGEST_BEAT = 1.0

Busy = Callable[[], Iterable[tuple[str, float]]]
"""(model, seconds that its present run has taken), of every model that runs; called on the loop."""


class Stillness:
    """Counts how long a number has not changed, in beats of whoever asks. Pure.

    The asker's own beats and no clock: after a pause of the whole process (a stopped container, a moved machine) the
    clock has gone on, and neither side had a chance to move.
    """

    def __init__(self) -> None:
        self._last = -1
        self.beats = 0

    def see(self, number: int) -> int:
        """The beats since `number` changed, this one included."""
        self.beats = self.beats + 1 if number == self._last else 0
        self._last = number
        return self.beats


class Watchdog:
    """Watches from `start` to `stop`, which are called on the loop; `limit` is in seconds."""

    def __init__(
        self, limit: float, busy: Busy, tell: Callable[[str | None], None], end: Callable[[str], None]
    ) -> None:
        """`tell` gets the sentence that says why the server is not live, or None when it is again; it is called on the
        loop. `end` is called on a thread, with the reason for which the process must end now.
        """
        self._limit = limit
        self._busy = busy
        self._tell = tell
        self._end = end
        self._beat = min(_LONGEST_BEAT, limit / 4)
        self._turns = 0
        self._said: str | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._stopped = threading.Event()
        self._loop_thread = threading.get_ident()

    def start(self) -> None:
        """Begin."""
        self._loop_thread = threading.get_ident()
        self._turn(asyncio.get_running_loop())
        threading.Thread(target=self._watch, name="watchdog", daemon=True).start()

    def stop(self) -> None:
        """End; the thread is gone within a moment."""
        self._stopped.set()
        if self._timer is not None:
            self._timer.cancel()

    def _turn(self, loop: asyncio.AbstractEventLoop) -> None:
        """On the loop: it turns; does any run take too long?"""
        self._turns += 1
        stuck = next((model for model, seconds in self._busy() if seconds > self._limit), None)
        if stuck != self._said:
            self._said = stuck
            if stuck is None:
                log.warning("live again: the run that took longer than MOORING_RUN_TIMEOUT has ended")
                self._tell(None)
            else:
                reason = f"model '{stuck}' has been in one run for longer than MOORING_RUN_TIMEOUT, {self._limit:g} s"
                log.error("not live: %s", reason)
                self._tell(reason)
        self._timer = loop.call_later(self._beat, self._turn, loop)

    def _watch(self) -> None:
        """The thread."""
        stillness = Stillness()
        while not self._stopped.wait(self._beat):
            if stillness.see(self._turns) * self._beat > self._limit:
                frame = sys._current_frames().get(self._loop_thread)
                stack = "".join(traceback.format_stack(frame)) if frame is not None else ""
                reason = (
                    f"the event loop has stood still for longer than MOORING_RUN_TIMEOUT, {self._limit:g} s: "
                    "what runs on it blocks every other request"
                )
                log.error("%s", reason, extra={"stack": stack})
                self._end(reason)
                return
