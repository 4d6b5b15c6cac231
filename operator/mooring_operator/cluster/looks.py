"""What is known of all services' metrics: written by the one who asks Prometheus, read by every round."""

from dataclasses import dataclass, field

from ..facts import Key, MetricsApi
from ..scaling.look import Look


@dataclass
class Looks:
    """The last look that was worth telling, by service, and who serves external metrics."""

    api: MetricsApi | None = None
    """None: it could not be seen yet."""
    by_service: dict[Key, Look] = field(default_factory=dict)
