"""The numbers of one process as a plain value, and how those of several become one. Pure.

A page maps the name of a metric to its samples; a sample's key is the suffix of its name (`_bucket`, `_sum`, `_count`
or nothing) and the values of its labels in the metric's order, for a bucket with its upper bound at the end.
"""

from collections.abc import Callable, Iterable, Mapping

from mooring_runtime.metrics.names import METRICS, Merge

Key = tuple[str, tuple[str, ...]]
Samples = dict[Key, float]
Page = dict[str, Samples]

_PICK: Mapping[Merge, Callable[[float, float], float]] = {
    Merge.SUM: lambda one, other: one + other,
    Merge.MAX: max,
    Merge.MIN: min,
}


def merge(pages: Iterable[Page]) -> Page:
    """One page of several: counts and histograms are added up, gauges as their metric says. Associative."""
    merged: Page = {}
    for page in pages:
        for name, samples in page.items():
            metric = METRICS[name]
            pick = _PICK[Merge.SUM if metric.kept else metric.merge]
            whole = merged.setdefault(name, {})
            for key, value in samples.items():
                whole[key] = pick(whole[key], value) if key in whole else value
    return {name: merged[name] for name in METRICS if name in merged}


def kept(page: Page) -> Page:
    """What still counts of a process that has ended: what only grows. How full its queue was does not."""
    return {name: samples for name, samples in page.items() if METRICS[name].kept}


Wire = dict[str, list[tuple[str, list[str], float]]]


def to_wire(page: Page) -> Wire:
    """The page as JSON can carry it."""
    return {
        name: [(suffix, list(labels), value) for (suffix, labels), value in samples.items()]
        for name, samples in page.items()
    }


def from_wire(wire: Wire) -> Page:
    """The page that `to_wire` was given."""
    return {
        name: {(suffix, tuple(labels)): value for suffix, labels, value in samples} for name, samples in wire.items()
    }
