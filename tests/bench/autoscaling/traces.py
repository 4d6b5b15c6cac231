"""The traffic that is replayed, from formulas: how many pods' worth of requests come in each second.

One pod's worth is what one pod really holds, found by simulating it (`models.py`), so that a trace needs the same
fleets whatever the model. The first hour is not judged: it teaches. Noise is seeded: the same seed, the same trace.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Noise = np.random.Generator
HOUR = 3600
JUDGED_FROM = HOUR
"""Seconds."""


@dataclass(frozen=True)
class Trace:
    """One trace.

    Attributes:
        about: its formula in words.
        pods: from two sources of noise, its own and the one that all traces of a seed share, to the worth of requests
            in each second.
        known: whether the rule was designed on it.
    """

    name: str
    about: str
    pods: Callable[[Noise, Noise], Floats]
    known: bool = True

    def make(self, seed: int) -> Floats:
        """Return it for a seed."""
        return self.pods(np.random.default_rng([seed, *self.name.encode()]), np.random.default_rng(seed))


def _day(time: Floats, length: float, low: float, high: float) -> Floats:
    """A day's wave that begins and ends at its lowest."""
    return low + (high - low) * (0.5 - 0.5 * np.cos(2 * np.pi * time / length))


def _surge(time: Floats, start: float, factor: float, rise: float, stay: float) -> Floats:
    """A factor that rises within `rise` seconds, stays, and falls within two minutes."""
    edges = np.cumsum([start, rise, stay, 120])
    return 1 + (factor - 1) * np.interp(time, edges, [0, 1, 1, 0])


def _held(draws: Floats, seconds: int, length: int) -> Floats:
    """Each draw for so many seconds."""
    return np.repeat(draws, seconds)[:length]


def _seconds(hours: float) -> Floats:
    return np.arange(int(hours * HOUR), dtype=np.float64)


def day(noise: Noise, _shared: Noise) -> Floats:
    """24 hours with a flash crowd and a step that nothing announces."""
    time = _seconds(24)
    pods = _day(time, 24 * HOUR, 3, 14)
    when = noise.uniform(-1800, 1800, 2)
    pods *= _surge(time, 9.5 * HOUR + when[0], 3, 30, 600)
    return pods * _surge(time, 19 * HOUR + when[1], 2, 1, 2400)


def diurnal(_noise: Noise, _shared: Noise) -> Floats:
    """A day pressed into four hours, six times as steep."""
    time = _seconds(5)
    return _day(time, 4 * HOUR, 3, 14)


def flash(noise: Noise, _shared: Noise) -> Floats:
    """Five times as much within 30 s, for ten minutes."""
    return 3.4 * _surge(_seconds(3), 1.75 * HOUR + noise.uniform(0, 300), 5, 30, 600)


def step(noise: Noise, _shared: Noise) -> Floats:
    """Twice as much from one second to the next, for 40 minutes."""
    return 4.6 * _surge(_seconds(3), 1.5 * HOUR + noise.uniform(0, 300), 2, 1, 2400)


def on_off(noise: Noise, _shared: Noise) -> Floats:
    """The worth of 9.5 pods for ten minutes, of 0.9 for ten."""
    time = _seconds(3) + noise.uniform(0, 1200)
    return np.where(time % 1200 < 600, 9.5, 0.9)


def heavy(noise: Noise, _shared: Noise) -> Floats:
    """A Markov chain of 20 s (once or twice as much; mean stays 180 s and 60 s), times a Gamma variable (cv 0.3)."""
    length = 3 * HOUR
    steps = length // 20 + 1
    high = np.zeros(steps)
    for each in range(1, steps):
        high[each] = noise.random() >= 20 / 60 if high[each - 1] else noise.random() < 20 / 180
    shape = 1 / 0.3**2
    return 5 * _held((1 + high) * noise.gamma(shape, 1 / shape, steps), 20, length)


def _shared_bursts(time: Floats, noise: Noise) -> Floats:
    """Bursts that two services share: 1.5 an hour, Pareto heights (at most three times), two to six minutes."""
    factor = np.ones_like(time)
    for start in np.cumsum(noise.exponential(HOUR / 1.5, 40)):
        height = 1 + min(2.0, 0.4 * noise.pareto(1.5))
        factor = np.maximum(factor, _surge(time, start, height, noise.uniform(10, 60), noise.uniform(120, 360)))
    return factor


def _wobble(noise: Noise, length: int) -> Floats:
    """Autoregressive noise of 30 s with a deviation of 0.08 and a memory of five minutes."""
    steps = length // 30 + 1
    value, values = 0.0, np.empty(steps)
    for each in range(steps):
        value = 0.9 * value + 0.08 * np.sqrt(1 - 0.9**2) * noise.standard_normal()
        values[each] = value
    return _held(np.exp(values), 30, length)


def _week(noise: Noise, shared: Noise, levels: tuple[float, ...], jobs: float) -> Floats:
    time = _seconds(len(levels))
    shape = 0.6 + 0.8 * np.sin(np.pi * (time % HOUR) / HOUR) ** 2  # One hour is a day.
    pods = np.repeat(np.array(levels), HOUR) * shape
    pods *= 1 + jobs * (time % 1800 < 180)  # Jobs that run each half hour for three minutes.
    return pods * _shared_bursts(time, shared) * _wobble(noise, len(time))


def week(noise: Noise, shared: Noise) -> Floats:
    """A week, an hour a day, with a weekend, half-hourly jobs, noise, and bursts that it shares with `neighbour`."""
    return _week(noise, shared, (6.0, 6.0, 6.5, 6.0, 7.0, 3.0, 2.5), 0.5)


def neighbour(noise: Noise, shared: Noise) -> Floats:
    """The other service beneath the same bursts: busier at the weekend, no jobs."""
    return _week(noise, shared, (4.0, 4.0, 3.5, 4.0, 5.0, 8.0, 8.0), 0.0)


def _trace(make: Callable[[Noise, Noise], Floats], known: bool = True) -> Trace:
    return Trace(make.__name__, (make.__doc__ or "").strip(), make, known)


TRACES = {
    trace.name: trace
    for trace in (
        *map(_trace, (day, diurnal, flash, step, on_off, heavy)),
        _trace(week, False),
        _trace(neighbour, False),
    )
}
