"""When a worker that has ended is started anew. Pure."""

FIRST, LAST = 0.1, 10.0
"""Seconds to wait after the first end and at most; each end before the worker was ready doubles the wait."""
TRIES = 5
"""Ends in a row before a worker was ready, at the start of the server, after which the server gives up."""


class Restarts:
    """The ends of one worker's processes."""

    def __init__(self) -> None:
        self._in_a_row = 0

    def ready(self) -> None:
        """The worker answers requests, so that whatever ended the one before it is over."""
        self._in_a_row = 0

    def ended(self) -> float:
        """The process has ended; the seconds to wait before the next one starts."""
        self._in_a_row += 1
        return min(FIRST * 2.0 ** (self._in_a_row - 1), LAST)

    @property
    def hopeless(self) -> bool:
        """It has ended so often before it was ready that another try is not expected to do better."""
        return self._in_a_row >= TRIES
