"""What is remembered of sessions for who looks into a fault: the last steps of those that are watched, and the last
error of each. In memory only, bounded, and no more than a look into a dict for a session that nobody watches.

Who applies steps asks `if traces.watched and key in traces.watched` and then tells `applied`; who refuses one tells
`failed`.
"""

import time
from collections import OrderedDict, deque
from collections.abc import Callable
from typing import NamedTuple

from mooring_runtime.errors import RequestError
from mooring_runtime.errors.sessions import BadSession
from mooring_runtime.sessions.keys import Key

MOST_STEPS = 1000
"""Steps that are kept of one session."""
MOST_WATCHED = 64
"""Sessions that are watched at once; one more ends the watch that was begun first."""
_MOST_ERRORS = 10_000
"""Sessions whose last error is kept; some 300 bytes each."""
_LONGEST = 500
"""Characters of an error's text that are kept: it may repeat what the client sent."""


class TracedStep(NamedTuple):
    """One step that was answered; times in seconds."""

    step: int
    """Its number; of a step that was refused the one that the client gave, or 0."""
    time: int
    """Milliseconds since 1970 when it was answered."""
    waited: float
    """For its turn, and for a place in a run."""
    ran: float
    """In the model, with all that shared the run."""
    committed: float
    """Until state and reply were on disk; 0 in `interval` mode, where the reply goes before."""
    size: int
    """Bytes of the state after it."""
    digest: bytes
    """Of the state after it, as `encoding.state_digest` gives it."""
    outcome: str = "applied"
    """`applied`, `repeat`, or the cause of the error that the client was told."""


class LastError(NamedTuple):
    """The last request about a session that was refused or failed."""

    time: int
    """Milliseconds since 1970."""
    cause: str
    message: str
    step: int | None
    """The step that was asked for, where the request named it."""


def _now() -> int:
    return time.time_ns() // 1_000_000


class Traces:
    """Of the sessions of one replica; on the event loop."""

    def __init__(self, clock: Callable[[], int] = _now) -> None:
        """`clock` gives milliseconds since 1970."""
        self._clock = clock
        self.watched: OrderedDict[Key, deque[TracedStep]] = OrderedDict()
        """The steps of each session that is watched, the last one at the end."""
        self._errors: OrderedDict[Key, LastError] = OrderedDict()

    # --- told by who does it

    def applied(self, key: Key, step: TracedStep) -> None:
        """A step of a session that may be watched was answered."""
        steps = self.watched.get(key)
        if steps is not None:
            steps.append(step)

    def failed(self, key: Key, error: RequestError, step: int | None = None) -> None:
        """A request about a session was refused, or its run failed."""
        now = self._clock()
        self._errors[key] = LastError(now, error.cause, str(error)[:_LONGEST], step)
        self._errors.move_to_end(key)
        if len(self._errors) > _MOST_ERRORS:
            self._errors.popitem(last=False)
        steps = self.watched.get(key)
        if steps is not None:
            steps.append(TracedStep(step or 0, now, 0.0, 0.0, 0.0, 0, b"", error.cause))

    # --- asked

    def watch(self, key: Key, steps: int) -> None:
        """Keep the last `steps` steps of a session from now on; 0: no longer. What was kept of it stays, so far as it
        fits. Raises BadSession for a number that is out of bounds.
        """
        if not 0 <= steps <= MOST_STEPS:
            raise BadSession(f"steps of a trace is {steps}: it must be from 0 to {MOST_STEPS}", session=key.session)
        if steps == 0:
            self.watched.pop(key, None)
            return
        self.watched[key] = deque(self.watched.get(key, ()), steps)
        if len(self.watched) > MOST_WATCHED:
            self.watched.popitem(last=False)

    def steps(self, key: Key) -> list[TracedStep] | None:
        """The steps that were kept, the last one at the end; None: the session is not watched."""
        steps = self.watched.get(key)
        return None if steps is None else list(steps)

    def bound(self, key: Key) -> int:
        """How many steps of the session are kept; 0: it is not watched."""
        steps = self.watched.get(key)
        return 0 if steps is None else steps.maxlen or 0

    def last_error(self, key: Key) -> LastError | None:
        """The last error of a session, if it is remembered."""
        return self._errors.get(key)
