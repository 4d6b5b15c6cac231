"""How long the pods of each service take from their creation until they answer: what a scaling rule must look ahead.

Scheduling and the pulls of images are in it. Kubernetes tells only when a pod became ready last. So a pod is timed when
it is first seen ready; of those that were ready before this operator looked, one that was unready in between seems to
have started for hours, and what is beyond the limit is left out. History is Prometheus': it keeps what an earlier
operator exported.
"""

import math
from collections import deque
from collections.abc import Collection, Iterable
from datetime import datetime
from typing import Final

from ..facts import Key, Manifest
from .pods import is_router

MOST: Final = 600.0
"""Seconds that a start counts at most: else one pod that found no node makes the rule buy the peak of the hour."""
KEPT: Final = 50
"""Starts of a service that count, the last ones: an image or a node that became slower shows within a day."""
SHARE: Final = 0.9


class Starts:
    """Times the starts of pods. Ask in turns of seconds, with all pods that live."""

    def __init__(self) -> None:
        self._seen: dict[Key, set[str]] = {}
        self._seconds: dict[Key, deque[float]] = {}
        self._waiting: dict[Key, set[str]] = {}

    def look(self, key: Key, pods: Iterable[Manifest]) -> None:
        """Take in the pods of a service."""
        seen, waiting, living = self._seen.setdefault(key, set()), self._waiting.setdefault(key, set()), set()
        for pod in pods:
            uid = pod["metadata"].get("uid", "")
            living.add(uid)
            if is_router(pod) or uid in seen:
                continue
            took = _took(pod)
            if took is None:
                waiting.add(uid)
                continue
            if uid in waiting or took <= MOST:
                self._seconds.setdefault(key, deque(maxlen=KEPT)).append(min(took, MOST))
            seen.add(uid)
        seen &= living
        waiting &= living - seen

    def keep(self, keys: Collection[Key]) -> None:
        """Forget every other service."""
        for key in self._seen.keys() - set(keys):
            for table in (self._seen, self._waiting, self._seconds):
                table.pop(key, None)

    def seconds(self, key: Key) -> float | None:
        """Return the time within which nine pods of ten have started; None where none was seen to."""
        found = sorted(self._seconds.get(key, ()))
        return found[math.ceil(SHARE * len(found)) - 1] if found else None


def _took(pod: Manifest) -> float | None:
    ready = [each for each in pod.get("status", {}).get("conditions") or () if each["type"] == "Ready"]
    created = pod["metadata"].get("creationTimestamp")
    if not ready or ready[0]["status"] != "True" or not created or "lastTransitionTime" not in ready[0]:
        return None
    took = datetime.fromisoformat(ready[0]["lastTransitionTime"]) - datetime.fromisoformat(created)
    return max(0.0, took.total_seconds())
