"""What is answered from: every metric of every service, as one look at Prometheus gave it.

A loop looks every few seconds, whoever asks: any number of autoscalers cost Prometheus the same. One look that fails is
no gap: what the one before gave still stands for `OLDEST` seconds, with its own time. After that there is no value any
more, and autoscalers hold the counts that they have.
"""

import asyncio
import logging
import math
import time
from collections.abc import Callable, Mapping
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

OLDEST: Final = 30.0
"""Seconds for which one look may be answered from: two rounds of an autoscaler."""
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

    def fresh(self, now: float) -> bool:
        """Tell whether it may still be answered from."""
        return now - self.taken <= OLDEST


class Refresher:
    """Keeps `board` fresh."""

    def __init__(
        self,
        services: Services,
        prometheus: Prometheus | None,
        tolerance: bool,
        interval: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.board = Board() if prometheus is not None else Board(problem=(NOT_CONFIGURED, NO_PROMETHEUS))
        self._services = services
        self._prometheus = prometheus
        self._tolerance = tolerance
        self._teller = Teller(interval)
        self._clock = clock

    async def run(self, every: float) -> None:
        """Look again and again, `every` seconds, until cancelled."""
        while True:
            if self._services.ready and self._prometheus is not None:
                await self.look(self._prometheus)
            await asyncio.sleep(every)

    async def look(self, prometheus: Prometheus) -> None:
        """Look once; what was known stays when that fails."""
        services = self._services.readable()
        began = self._clock()
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
        self.board = Board(began, told, None)
        metrics.DATA_TIMESTAMP.set_to_current_time()
        metrics.SERVICES.set(len(told))
