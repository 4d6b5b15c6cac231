"""From Prometheus' answers to the findings of each service. Pure.

An answer is the `result` of its HTTP API: a list of `{"metric": labels, "value": [time, text]}`; `values` in a range.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from ..api import names
from ..facts import Key
from .findings import Findings, Line
from .queries import MOST, POD, RECEIVED, SERIES, Signal
from .scraping import Scraping

_PER_POD: Final = frozenset({"curve", "run_mean", "run_variation", "garbled"})
_TOLD: Final = 3
"""Pods that are named; one is enough to look at."""
Vector = list[dict[str, Any]]
"""What one query answers."""
Numbers = dict[Key, float]
Pods = dict[Key, dict[str, float]]
"""Of each service, the number of each pod."""


@dataclass(frozen=True, slots=True)
class Results:
    """All answers of one look."""

    time: float
    """When Prometheus looked, by its own clock, in unix seconds."""
    signals: Mapping[Signal, Vector]
    latencies: Mapping[int, Vector] = field(default_factory=dict)
    """By percentile."""
    history: Vector = field(default_factory=list)
    """Of the arrival rate: a range in steps of `scraping.step` that ends at `last_step(time, scraping)`."""
    scraping: Scraping = field(default_factory=Scraping)


def last_step(time: float, scraping: Scraping) -> int:
    """Return the newest point of a history in unix seconds. Steps stand still between two looks, as in a subquery: else
    each look would compare other moments, and what was seen once could be seen again.
    """
    return int(time // scraping.step) * scraping.step


def read(results: Results) -> dict[Key, Findings]:
    """Return the findings of every service that has a series.

    Raises `ValueError` where an answer has not the form that Prometheus gives.
    """
    look = _Look(results)
    return {key: look.at(key) for key in look.services()}


class _Look:
    """The answers by signal and service."""

    def __init__(self, results: Results) -> None:
        self._time = results.time
        self._numbers: dict[Signal, Numbers] = {
            signal: _numbers(vector) for signal, vector in results.signals.items() if signal not in _PER_POD
        }
        self._curve_a = _pods(results.signals.get("curve", []), term="a")
        self._curve_b = _pods(results.signals.get("curve", []), term="b")
        self._mean = _pods(results.signals.get("run_mean", []))
        self._variation = _pods(results.signals.get("run_variation", []))
        self._garbled = _garbled(results)
        self._latencies = {percentile: _numbers(vector) for percentile, vector in results.latencies.items()}
        self._history = {_key(series): _history(series, results) for series in results.history}

    def services(self) -> set[Key]:
        return {key for numbers in self._numbers.values() for key in numbers} | set(self._history)

    def at(self, key: Key) -> Findings:
        limit = self._number("batch_limit", key)
        mean, variation = _median_run(self._mean.get(key, {}), self._variation.get(key, {}))
        return Findings(
            time=self._time,
            newest=self._number("newest", key),
            pods=int(self._number("pods", key) or 0),
            copies=int(self._number("copies", key) or 0),
            scrapes=int(self._number("scrapes", key) or 0),
            ready=int(self._number("ready", key) or 0),
            proven=int(self._number("proven", key) or 0),
            rate=self._number("rate", key),
            history=self._history.get(key, ()),
            queued=self._number("queued", key),
            in_flight=self._number("in_flight", key),
            latency={percentile: numbers[key] for percentile, numbers in self._latencies.items() if key in numbers},
            answered=self._number("answered", key) or 0.0,
            refused=self._number("refused", key) or 0.0,
            curve=median_line(self._curve_a.get(key, {}), self._curve_b.get(key, {}), (limit or 1.0) / 2),
            batch_limit=limit,
            batch_delay=self._number("batch_delay", key),
            queue_limit=self._number("queue_limit", key),
            run_mean=mean,
            run_variation=variation,
            workers=self._number("workers", key),
            samples_per_request=self._number("samples_per_request", key),
            loop_seconds=self._number("loop_seconds", key),
            load_seconds=self._number("load_seconds", key),
            garbled=self._garbled.get(key, {}),
        )

    def _number(self, signal: Signal, key: Key) -> float | None:
        return self._numbers.get(signal, {}).get(key)


def median_line(fixed: Mapping[str, float], per_sample: Mapping[str, float], samples: float) -> Line | None:
    """Return the line of the pod that is in the middle by its time for a run of so many samples; None without a line.

    Not the slowest pod: one that has just started has learned from cold runs, would make the fleet look slow, and so
    bring more pods that have just started. Not the middle of each term for itself either: where the one is too high the
    other is too low, and the two of one pod belong together. Of an even number of pods it is the slower one.
    """
    lines = [Line(fixed[pod], per_sample[pod]) for pod in fixed.keys() & per_sample.keys()]
    # Two zeros are what a pod says that has not run anything yet.
    lines = sorted((line for line in lines if max(line) > 0.0), key=lambda line: (line.at(samples), line))
    return lines[len(lines) // 2] if lines else None


def _median_run(means: Mapping[str, float], variations: Mapping[str, float]) -> tuple[float | None, float | None]:
    runs = sorted((mean, variations[pod]) for pod, mean in means.items() if pod in variations and mean > 0.0)
    return runs[len(runs) // 2] if runs else (None, None)


def _numbers(vector: Vector) -> Numbers:
    return {_key(series): value for series in vector for value in _finite(series)}


def _garbled(results: Results) -> dict[Key, dict[str, str]]:
    """Of each service, its series that are no numbers, and at which pods."""
    pods: dict[Key, dict[str, set[str]]] = {}
    for series in results.signals.get("garbled", []):
        name, pod = (_labels(series).get(label, "") for label in (SERIES, POD))
        pods.setdefault(_key(series), {}).setdefault(name, set()).add(pod)
    for series in results.signals.get("rate", []):
        # A number again by now, but for a while its rate goes over what was none.
        if not any(True for _ in _finite(series)):
            pods.setdefault(_key(series), {}).setdefault(RECEIVED, set())
    return {key: {name: _first(sorted(found)) for name, found in by_name.items()} for key, by_name in pods.items()}


def _first(pods: list[str]) -> str:
    more = f" and {len(pods) - _TOLD} more" if len(pods) > _TOLD else ""
    return ", ".join(pod for pod in pods[:_TOLD] if pod) + more


def _pods(vector: Vector, **labels: str) -> Pods:
    pods: Pods = {}
    for series in vector:
        if all(_labels(series).get(name) == value for name, value in labels.items()):
            for value in _finite(series):
                pods.setdefault(_key(series), {})[_labels(series).get(POD, "")] = value
    return pods


def _finite(series: Mapping[str, Any]) -> Iterator[float]:
    """The value of a series, unless it is none that could have been measured.

    A histogram is none: whoever exports one under a name of ours must not blind all other services.
    """
    if "histogram" in series:
        return
    match series.get("value"):
        case [int() | float(), str() as text]:
            value = _float(text, series)
        case other:
            raise ValueError(f"the value of {_labels(series)} is {str(other)[:100]}, not a time and a number")
    if _plausible(value):
        yield value


def _history(series: Mapping[str, Any], results: Results) -> tuple[float | None, ...]:
    """The points of a range on its grid; None where there is none."""
    scraping, end = results.scraping, last_step(results.time, results.scraping)
    match [] if "histograms" in series else series.get("values"):
        case list() as pairs:
            known = dict(_point(pair, series) for pair in pairs)
        case other:
            raise ValueError(f"the values of {_labels(series)} are {str(other)[:100]}, not a list")
    points = (known.get(time) for time in range(end - scraping.history, end + 1, scraping.step))
    return tuple(point if point is not None and _plausible(point) else None for point in points)


def _plausible(value: float) -> bool:
    """NaN and infinity are what arithmetic leaves where nothing is known. Nothing that is counted or timed is negative,
    and numbers without measure make infinities of the rule's own arithmetic.
    """
    return math.isfinite(value) and 0.0 <= value <= MOST


def _point(pair: object, series: Mapping[str, Any]) -> tuple[int, float]:
    match pair:
        case [int() | float() as time, str() as text]:
            return round(time), _float(text, series)
        case other:
            raise ValueError(f"a value of {_labels(series)} is {str(other)[:100]}, not a time and a number")


def _float(text: str, series: Mapping[str, Any]) -> float:
    try:
        return float(text)
    except ValueError:
        raise ValueError(f"the value of {_labels(series)} is {text[:100]!r}, not a number") from None


def _key(series: Mapping[str, Any]) -> Key:
    labels = _labels(series)
    try:
        return Key(labels[names.METRIC_LABEL_NAMESPACE], labels[names.METRIC_LABEL_SERVICE])
    except KeyError as error:
        raise ValueError(f"a series lacks the label {error}: its labels are {labels}") from None


def _labels(series: Mapping[str, Any]) -> Mapping[str, str]:
    match series.get("metric"):
        case dict() as labels:
            return labels
        case other:
            raise ValueError(f"the labels of a series are {str(other)[:100]}, not an object")
