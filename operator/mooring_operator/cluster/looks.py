"""What is known of all services' metrics: written by the one who asks Prometheus, read by every round."""

import asyncio
from dataclasses import dataclass, field

from ..facts import Key, MetricsApi, Service
from ..scaling.look import Look


@dataclass
class Looks:
    """The last look that was worth telling, by service, and who serves external metrics."""

    api: MetricsApi | None = None
    """None: it could not be seen yet."""
    by_service: dict[Key, Look] = field(default_factory=dict)
    asked: asyncio.Event = field(default_factory=asyncio.Event)
    """Somebody misses a look at a service: it is new."""

    def of(self, key: Key, service: Service) -> Look | None:
        """Return the last look at a service; where there is none and it has an autoscaler, ask for one."""
        look, scaling = self.by_service.get(key), service.spec.scaling
        if look is None and scaling is not None and scaling.max_replicas is not None:
            self.asked.set()
        return look
