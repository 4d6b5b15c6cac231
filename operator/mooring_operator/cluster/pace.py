"""When the replicas of a stateful service are looked at next. Nothing tells us what happens inside them."""

from collections.abc import Hashable
from datetime import datetime
from typing import Final

from ..facts import Key, Moves, ObjectKey, Observed, Step

AT_ONCE: Final = 0.1
"""Seconds until the round after one that wrote a record: those who are to hear of it wait."""

QUICK, QUICK_FOR = 1.0, 60.0
"""Seconds between looks at the replicas of a stateful service of which something is awaited, and for how long after the
last change: nothing tells us that one has its model, or has handed its sessions over."""

SLOW: Final = 10.0
"""Seconds between them after that."""

CALM: Final = 60.0
"""Seconds between looks that only count sessions."""


class Pace:
    """When the replicas of a stateful service are looked at next, beside what events ask for."""

    def __init__(self) -> None:
        self._changed: dict[Key, tuple[Hashable, datetime]] = {}

    def next(self, key: Key, observed: Observed, step: Step) -> float:
        """Return the seconds until then."""
        members, moves = observed.members, step.moves or Moves()
        if moves.record is not None:
            return AT_ONCE
        if members is None:
            return CALM
        record = members.record
        live = observed.children.get(ObjectKey("StatefulSet", key.name))
        resizes = step.replicas is not None and (live is None or live["spec"].get("replicas") != step.replicas)
        acts = bool(moves.tell or moves.evict or moves.grow or moves.recreate)
        unready = sum(not pod.ready for pod in observed.pods)
        if record is not None and record.settled and not (members.silent or unready or resizes or acts or step.reason):
            self._changed.pop(key, None)
            return CALM
        stands = (record and record.epoch, tuple(members.silent), tuple(members.reports), unready, step.reason)
        before, since = self._changed.get(key, (None, observed.now))
        if before != stands:
            self._changed[key] = stands, (since := observed.now)
        return QUICK if (observed.now - since).total_seconds() < QUICK_FOR else SLOW

    def forget(self, key: Key) -> None:
        """Forget a service that is gone."""
        self._changed.pop(key, None)
