"""How the series come to be, and every span of time that follows from it. Pure."""

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

HISTORY: Final = 3600
"""Seconds of arrivals that the rule learns from."""
_FINEST: Final = 5
"""Fewest seconds between two points of a history: an hour of finer ones costs Prometheus more than it teaches."""
_SYNC: Final = 15.0
"""Seconds between two looks of an autoscaler."""
_LATENCY: Final = 60.0
"""Fewest seconds over which a percentile is taken, and of which the highest one counts."""
_MEAN: Final = 600.0
_LABEL: Final = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")
_REMEMBERED: Final = 300
"""Seconds for which Prometheus takes a sample for new."""


@dataclass(frozen=True, slots=True)
class Scraping:
    """How the series come to be.

    Attributes:
        interval: seconds between two scrapes of a pod.
        matchers: label matchers that every query gets besides, as `matchers_of` gives them, for a Prometheus that has
            the series of several clusters.
    """

    interval: float = 15.0
    matchers: str = ""

    @property
    def window(self) -> float:
        """Seconds over which a rate is taken: three scrapes, so that one that is late leaves two."""
        return 3 * self.interval

    @property
    def step(self) -> int:
        """Whole seconds between two points of a history: a scrape, for between two of them nothing new is seen."""
        return max(_FINEST, math.ceil(self.interval))

    @property
    def history(self) -> int:
        """Seconds that a history covers: whole steps, so that its newest point is the newest that there is."""
        return HISTORY // self.step * self.step

    @property
    def detection(self) -> float:
        """Seconds from a change of the arrivals until an autoscaler acts on it, in the mean: half a scrape until it is
        seen, half a window until it is most of the rate, half a period until somebody looks.
        """
        return self.interval / 2.0 + self.window / 2.0 + _SYNC / 2.0

    @property
    def backlog(self) -> float:
        """Fewest seconds in which a backlog may be worked off: two scrapes, and no less than the autoscaler's period.

        What is seen of a queue is up to a scrape old, and the next look at it comes a scrape later. To work it off
        sooner would buy pods once more for what those already work off that the look before has brought.
        """
        return max(_SYNC, 2.0 * self.interval)

    @property
    def mean(self) -> int:
        """Seconds over which what a request costs is taken: forty scrapes, and no more than ten minutes."""
        return math.ceil(min(_MEAN, 40 * self.interval))

    @property
    def latency_window(self) -> float:
        """Seconds over which a percentile is taken: four scrapes at least."""
        return max(_LATENCY, 4 * self.interval)

    @property
    def smoothed(self) -> float:
        """Seconds of which the highest latency counts: one quiet scrape must not call off a surge."""
        return max(_LATENCY, 2 * self.interval)

    @property
    def counted(self) -> int:
        """Seconds over which the scrapes of a pod are counted: as long as Prometheus takes a sample for new, and time
        enough for as many scrapes as must have given a rate.
        """
        return max(_REMEMBERED, math.ceil(5 * self.interval))


def matchers_of(labels: Mapping[str, str]) -> str:
    """Return PromQL matchers by which series have these labels, such as `cluster="a"`.

    Raises:
        ValueError: a name that is none of a label. Values are quoted, whatever is in them.
    """
    if odd := [name for name in labels if not _LABEL.fullmatch(name)]:
        raise ValueError(f"found the label {odd[0]!r}: write letters, digits and underlines, a digit not first")
    # PromQL's strings are those of Go, which has every escape that JSON makes.
    return ", ".join(f"{name}={json.dumps(value, ensure_ascii=False)}" for name, value in sorted(labels.items()))
