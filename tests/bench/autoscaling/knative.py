"""Knative's arithmetic, after `Scale` in its `autoscaler.go`, with its defaults. Pure.

A stable window of 60 s and a panic window of 6 s, a look each 2 s. In panic, which begins when the short window asks
for twice the ready pods, the count never falls; it ends a stable window after the last such look.
"""

import math
from collections import deque
from dataclasses import dataclass, field

TICK = 2.0
STABLE = 60
PANIC = 6
_THRESHOLD = 2.0
_UP, _DOWN = 1000.0, 2.0


@dataclass
class Decider:
    """One revision's autoscaler.

    Attributes:
        target: requests in a pod that are aimed at; Knative's own default is 0.7 of the container's limit.
        down_delay: seconds for which the highest count is kept (`scale-down-delay`, 0 by default).
    """

    target: float
    down_delay: float = 0.0
    panic_since: float | None = None
    panic_pods: int = 0
    kept: deque[tuple[float, int]] = field(default_factory=deque)

    def scale(self, now: float, ready: int, stable: float, panic: float) -> int:
        """Return the count.

        Args:
            ready: pods that are ready.
            stable, panic: mean number of requests in all pods, over the two windows.
        """
        pods = max(1, ready)
        most, least = math.ceil(_UP * pods), math.floor(pods / _DOWN)
        by_stable, by_panic = math.ceil(stable / self.target), math.ceil(panic / self.target)
        desired = min(max(by_stable, least), most)
        hurried = min(max(by_panic, least), most)
        if by_panic / pods >= _THRESHOLD:
            self.panic_since = now
        elif self.panic_since is not None and self.panic_since + STABLE < now:
            self.panic_since, self.panic_pods = None, 0
        if self.panic_since is not None:
            self.panic_pods = max(self.panic_pods, desired, hurried)
            desired = self.panic_pods
        return self._delayed(now, desired)

    def _delayed(self, now: float, desired: int) -> int:
        if not self.down_delay:
            return desired
        while self.kept and self.kept[0][0] <= now - self.down_delay:
            self.kept.popleft()
        while self.kept and self.kept[-1][1] <= desired:
            self.kept.pop()
        self.kept.append((now, desired))
        return self.kept[0][1]
