"""What is answered from: every metric of every service, as one look at Prometheus gave it.

A loop looks every few seconds, whoever asks: any number of autoscalers cost Prometheus the same. One look that fails is
no gap: what the one before gave still stands for a while, with its own time. After that there is no value any more, and
autoscalers hold the counts that they have.
"""

import asyncio
import logging
import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from ..cluster.prometheus import Prometheus
from ..cluster.prometheus_http import PrometheusError
from ..facts import Key
from ..scaling.answers import Answer
from ..scaling.look import stepped
from ..scaling.refusals import NOT_CONFIGURED, NOT_YET
from ..scaling.teller import Teller
from . import metrics
from .services import Services

logger = logging.getLogger(__name__)

NO_PROMETHEUS: Final = (
    "the adapter is told of no Prometheus: set prometheus.url of the chart (MOORING_PROMETHEUS_URL) to the one that "
    "scrapes the models"
)


@dataclass(frozen=True)
class Board:
    """All that one look gave."""

    taken: float = -math.inf
    """Monotonic seconds of that look."""
    answers: Mapping[Key, Mapping[str, Answer]] = field(default_factory=dict)
    problem: tuple[str, str] | None = (NOT_YET, "Prometheus has not answered yet")
    """Reason and message: why there is no newer look; None: the last one succeeded."""
    lasts: float = 0.0
    """Seconds for which that look may be answered from."""

    def fresh(self, now: float) -> bool:
        """Tell whether it may still be answered from."""
        return now - self.taken <= self.lasts


class Refresher:
    """Keeps `board` fresh."""

    def __init__(
        self,
        services: Services,
        prometheus: Prometheus | None,
        tolerance: bool,
        interval: float,
        lasts: float,
    ) -> None:
        """`interval` is the time between two scrapes; one look may be answered from for `lasts`. Both in seconds."""
        self.board = Board(lasts=lasts)
        if prometheus is None:
            self.board = replace(self.board, problem=(NOT_CONFIGURED, NO_PROMETHEUS))
        self._services = services
        self._prometheus = prometheus
        self._tolerance = tolerance
        self._teller = Teller(interval)

    async def run(self, every: float) -> None:
        """Look again and again, `every` seconds, until cancelled."""
        while True:
            if self._services.ready and self._prometheus is not None:
                await self.look(self._prometheus)
            await asyncio.sleep(every)

    async def look(self, prometheus: Prometheus) -> None:
        """Look once; what was known stays when that fails."""
        services = self._services.readable()
        began = time.monotonic()
        try:
            found = await prometheus.find(services)
        except (PrometheusError, OSError) as error:
            reason = error.reason if isinstance(error, PrometheusError) else PrometheusError.reason
            problem = (reason, str(error))
            if problem != self.board.problem:
                logger.warning("cannot look at Prometheus: %s: %s", *problem)
            self.board = replace(self.board, problem=problem)
            return
        if self.board.problem is not None:
            logger.info("Prometheus answers")
        told: dict[Key, Mapping[str, Answer]] = {}
        for service in services:
            key = Key(service.namespace, service.name)
            pods = self._services.pods(service)
            said = self._teller.tell(service, found[key], self._services.standing(service), pods.ready)
            told[key] = said if self._tolerance else stepped(said, pods.live)
        self._teller.keep(told)
        # As old as its beginning: the queries of a look may take seconds.
        self.board = replace(self.board, taken=began, answers=told, problem=None)
        metrics.DATA_TIMESTAMP.set_to_current_time()
        metrics.SERVICES.set(len(told))
