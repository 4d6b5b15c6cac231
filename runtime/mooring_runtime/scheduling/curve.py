"""How long runs take: by the bytes of their input, which says where a run belongs, and by their samples. Pure.

Handing a run to a thread and back costs about 9 us, more than a tiny model takes; a long run on the event loop stops
every other request, the probes included. So only a run that has been measured to be short happens there.
"""

import math

INLINE_LIMIT = 0.0002
"""Seconds. A run shorter than this is cheaper on the event loop than on a thread."""
_STEP = 1.1
"""Each run moves the estimate by this factor towards itself, which makes the estimate a median: on a busy machine a
few runs in a hundred are interrupted and take a thousand times as long, and an average would follow them."""
_FIRST_PROBE, _LAST_PROBE = 16, 4096
"""Suspiciously long runs on the thread before one is tried on the loop; doubled each time it was long there too."""
_BLOCKING = 0.05
"""Seconds that no interruption takes: a run on the loop which lasted longer belongs to a model that sleeps or whose
time hangs on its data, and the next one must not stop the probes again."""


class _SizeClass:
    """Requests of about one size, within a factor of two."""

    __slots__ = ("probe_after", "seconds", "suspect")

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.suspect = 0
        self.probe_after = _FIRST_PROBE


_FORGET = 1 / 256
"""Share of what is known that each measured run replaces."""
_OUTLIER = 4.0
"""A run that takes so many times what was expected was interrupted, and is taken for one that long."""
_RARE = 20.0
"""A run that takes so many times the mean is taken for one that long where the variation of run times is told: long
ones are meant there, but one of a thousand times the mean would be all that is seen for hundreds of runs."""
_FIRST_FIT = 2.0
"""Runs that those of a warm-up count for afterwards: zeros may take another time than what clients send."""
_EVERY = 8
"""Of the runs on the event loop one in so many is measured for the curve: they are many, and too short to pay more."""


class Curve:
    """The line a + b n through the run times, in seconds, of runs of n samples: least squares that forget.

    Of the same runs it tells mean and variation, whatever their sizes.
    """

    def __init__(self) -> None:
        self.runs = 0
        """Those that it has learned from."""
        self._weight = self._n = self._nn = self._t = self._nt = 0.0
        self._sum = self._squares = 0.0
        self._above = 0.0
        self._line = (0.0, 0.0)
        self._slope: float | None = None

    def observe(self, samples: int, seconds: float) -> None:
        """Learn from a run."""
        keep = 1.0 - _FORGET
        whole = seconds if self._weight == 0.0 else min(seconds, _RARE * self._sum / self._weight)
        self._sum = self._sum * keep + whole
        self._squares = self._squares * keep + whole * whole
        self.runs += 1
        a, b = self._line
        expected = a + b * samples
        if expected > 0.0:
            seconds = min(seconds, _OUTLIER * expected)
            # Nine steps down for each up: it rests where one run in ten lies above the line by more.
            step = 0.02 * expected
            self._above += 0.9 * step if seconds - expected > self._above else -0.1 * step
        self._weight = self._weight * keep + 1.0
        self._n = self._n * keep + samples
        self._nn = self._nn * keep + samples * samples
        self._t = self._t * keep + seconds
        self._nt = self._nt * keep + samples * seconds
        self._line = self._fit()

    def _fit(self) -> tuple[float, float]:
        n, t = self._n / self._weight, self._t / self._weight
        spread = self._nn / self._weight - n * n
        if spread > 0.01 * n * n:
            self._slope = max((self._nt / self._weight - n * t) / spread, 0.0)
        if n == 0.0:
            return t, 0.0
        # Runs of one size tell no line: the slope that is known stays. While none is, half of the time being fixed is
        # between the extremes.
        b = t / 2 / n if self._slope is None else min(self._slope, t / n)
        return t - b * n, b

    def warmed(self) -> None:
        """Those were the runs of a warm-up: let those of clients soon count for more."""
        self._above = 0.0  # They were held against a line of one or two sizes.
        if self._weight > _FIRST_FIT:
            part = _FIRST_FIT / self._weight
            self._weight *= part
            self._n *= part
            self._nn *= part
            self._t *= part
            self._nt *= part
            self._sum *= part
            self._squares *= part

    @property
    def mean(self) -> float:
        """Seconds of a run, on average of the last few hundred; 0 before the first."""
        return self._sum / self._weight if self._weight else 0.0

    @property
    def variation(self) -> float:
        """The squared coefficient of variation of those seconds; 0 before the first run."""
        mean = self.mean
        return max(0.0, self._squares / self._weight / (mean * mean) - 1.0) if mean > 0.0 else 0.0

    @property
    def fixed(self) -> float:
        """Seconds that a run costs whatever its size."""
        return self._line[0]

    @property
    def terms(self) -> tuple[float, float]:
        """(a, b) so that nine runs in ten take at most a + b n; (0, 0) before the first run."""
        a, b = self._line
        return a + max(self._above, 0.0), b


class RunTimes:
    """Learns how long runs take: by the bytes of their input, and in `curve` by their samples."""

    def __init__(self) -> None:
        self._classes: dict[int, _SizeClass] = {}
        self._skipped = _EVERY
        self.curve = Curve()

    def inline(self, size: int) -> bool:
        """Whether a run with `size` bytes of input belongs on the event loop.

        A size not seen yet is judged by the next smaller one that was, taken to cost twice as much a doubling.
        """
        number = size.bit_length()
        known = self._classes.get(number)
        if known is not None:
            return known.seconds < INLINE_LIMIT or known.suspect >= known.probe_after
        return self._guess(number) < INLINE_LIMIT

    def _guess(self, number: int) -> float:
        """Seconds of a size that was not seen yet."""
        smaller = max((other for other in self._classes if other < number), default=None)
        return math.inf if smaller is None else self._classes[smaller].seconds * 2.0 ** (number - smaller)

    def observe(self, size: int, wall: float, cpu: float | None, samples: int = 1) -> None:
        """Learn from a run: `wall` seconds, and the worker thread's `cpu` seconds; None says it was on the loop.

        On a busy server the thread waits up to 5 ms to get the interpreter back after its run, so that a run of 10 us
        may seem to take 5 ms, and would never return to the loop. Where the thread itself computed for less than the
        limit the time is therefore only suspect; after enough of those one run is tried on the loop, which knows. A run
        that blocked the loop is believed at once.
        """
        number = size.bit_length()
        known = self._classes.get(number)
        suspect = cpu is not None and cpu < INLINE_LIMIT <= wall < _BLOCKING
        self._skipped += 1
        # Once a try on the loop has shown that the device is really slow, what the thread measures is believed.
        if self._skipped >= _EVERY if cpu is None else not suspect or (known and known.probe_after > _FIRST_PROBE):
            self._skipped = 0
            self.curve.observe(samples, wall)
        if known is None:
            # The first run of its size may be one of those that are interrupted.
            self._classes[number] = _SizeClass(min(wall, self._guess(number)))
        elif suspect:
            known.suspect += 1
        elif cpu is None and wall >= _BLOCKING:
            known.seconds = wall
            known.suspect = 0
        elif cpu is None and known.suspect >= known.probe_after:
            known.seconds = wall
            known.probe_after = _FIRST_PROBE if wall < INLINE_LIMIT else min(2 * known.probe_after, _LAST_PROBE)
            known.suspect = 0
        elif wall > known.seconds:
            known.seconds *= _STEP
        else:
            known.seconds /= _STEP
