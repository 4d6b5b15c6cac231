"""Watch events feed the cache and the queue: the only thing that kopf does here."""

from collections.abc import Callable
from typing import Any

import kopf

from ..cluster.cache import Cache
from ..cluster.kinds import INFERENCE_SERVICE, Kind
from ..work import Queue

COALESCE = 0.1
"""Seconds for which changes of children are gathered into one look."""


def register(registry: kopf.OperatorRegistry, cache: Cache, queue: Queue, relisted: Callable[[], None]) -> None:
    """Watch every kind of the cache. `relisted` is called when a watch had to begin anew."""
    for kind in cache.kinds:
        _watch(registry, kind, cache, queue, relisted)


def _watch(
    registry: kopf.OperatorRegistry, kind: Kind, cache: Cache, queue: Queue, relisted: Callable[[], None]
) -> None:
    @kopf.on.event(registry=registry, id=kind.plural, group=kind.group, version=kind.version, plural=kind.plural)
    async def feed(event: Any, **_: Any) -> None:
        key = cache.feed(kind, event["type"] == "DELETED", event["object"])
        if key is not None:
            # A change of the spec is looked at now. Children change several times within moments of each other.
            if kind is INFERENCE_SERVICE:
                queue.add(key)
            else:
                queue.add_after(key, COALESCE)
        if event["type"] is None:
            # A list in place of a stream: what was deleted before it sends no event.
            relisted()
