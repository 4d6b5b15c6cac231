"""Where a run belongs: on the event loop when it is known to be short, else on the worker thread. Pure.

Handing a run to a thread and back costs about 9 us, more than a tiny model takes; a long run on the event loop stops
every other request, the probes included. So only a run that has been measured to be short happens there.
"""

INLINE_LIMIT = 0.0002
"""Seconds. A run shorter than this is cheaper on the event loop than on a thread."""
_STEP = 1.1
"""Each run moves the estimate by this factor towards itself, which makes the estimate a median: on a busy machine a
few runs in a hundred are interrupted and take a thousand times as long, and an average would follow them."""
_FIRST_PROBE, _LAST_PROBE = 16, 4096
"""Suspiciously long runs on the thread before one is tried on the loop; doubled each time it was long there too."""


class _SizeClass:
    """Requests of about one size, within a factor of two."""

    __slots__ = ("probe_after", "seconds", "suspect")

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.suspect = 0
        self.probe_after = _FIRST_PROBE


class RunTimes:
    """Learns how long runs take, by the size of their input in bytes."""

    def __init__(self) -> None:
        self._classes: dict[int, _SizeClass] = {}

    def inline(self, size: int) -> bool:
        """Whether a run with `size` bytes of input belongs on the event loop.

        A size not seen yet is judged by the next smaller one that was, taken to cost twice as much a doubling.
        """
        number = size.bit_length()
        known = self._classes.get(number)
        if known is not None:
            return known.seconds < INLINE_LIMIT or known.suspect >= known.probe_after
        smaller = max((other for other in self._classes if other < number), default=None)
        if smaller is None:
            return False
        return self._classes[smaller].seconds * 2.0 ** (number - smaller) < INLINE_LIMIT

    def observe(self, size: int, wall: float, cpu: float | None) -> None:
        """Learn from a run: `wall` seconds, and the worker thread's `cpu` seconds; None says it was on the loop.

        On a busy server the thread waits up to 5 ms to get the interpreter back after its run, so that a run of 10 us
        may seem to take 5 ms, and would never return to the loop. Where the thread itself computed for less than the
        limit the time is therefore only suspect; after enough of those one run is tried on the loop, which knows.
        """
        number = size.bit_length()
        known = self._classes.get(number)
        if known is None:
            self._classes[number] = _SizeClass(wall)
        elif cpu is not None and cpu < INLINE_LIMIT <= wall:
            known.suspect += 1
        elif cpu is None and known.suspect >= known.probe_after:
            known.seconds = wall
            known.probe_after = _FIRST_PROBE if wall < INLINE_LIMIT else min(2 * known.probe_after, _LAST_PROBE)
            known.suspect = 0
        elif wall > known.seconds:
            known.seconds *= _STEP
        else:
            known.seconds /= _STEP
