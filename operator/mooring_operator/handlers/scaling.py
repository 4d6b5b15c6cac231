"""Looks at Prometheus for all services at once, for their statuses and for whoever scales by the operator's own series.

Only the leader does, every few seconds, one look for all. What it finds is exported each time, and told to a service's
round only when it is worth a status.
"""

import asyncio
import logging
import time
from collections.abc import Collection
from dataclasses import replace
from typing import Any, Final, NamedTuple

from ..cluster import kinds, metrics_api
from ..cluster.cache import Cache
from ..cluster.kube import Kube
from ..cluster.looks import Looks
from ..cluster.prometheus import Prometheus
from ..cluster.prometheus_http import PrometheusError
from ..cluster.scaling import keda_autoscaler, measured_cpu
from ..cluster.starts import Starts
from ..facts import Key, Manifest, Service
from ..scaling.answers import Answer, unanswered
from ..scaling.findings import Findings
from ..scaling.look import Curveless, Look, stepped
from ..scaling.refusals import NOT_CONFIGURED
from ..scaling.rule import Standing
from ..scaling.teller import Teller
from ..scaling.telling import worth_telling
from ..validation import Parsed
from ..work import Queue
from . import series

logger = logging.getLogger(__name__)

SOON: Final = 1.0
"""Seconds from a service without a look to the next look, which is for all."""
LONGEST: Final = 90.0
"""Seconds that one look may take. Its questions have limits of their own, but they may wait for others: meanwhile the
series of the look before are scraped, and seem to be new to whoever scales by them."""
NO_PROMETHEUS: Final = (
    "the operator is told of no Prometheus: set prometheus.url in the chart's values to the one that scrapes the models"
)


class Looking(NamedTuple):
    """How it is looked, by the settings and the cluster."""

    namespace: str
    """The operator's own, where the adapter is."""
    period: float
    """Seconds between two looks."""
    scrape: float
    """Seconds between two scrapes of a pod."""
    tolerance: bool
    """Autoscalers have `tolerance`."""


class ScalingWatcher:
    """Keeps `Looks` and the exported series up to date."""

    def __init__(
        self, kube: Kube, cache: Cache, queue: Queue, looks: Looks, prometheus: Prometheus | None, how: Looking
    ) -> None:
        self._kube = kube
        self._cache = cache
        self._queue = queue
        self._looks = looks
        self._prometheus = prometheus
        self._how = how
        self._starts = Starts()
        self._parsed = Parsed()
        self._teller = Teller(how.scrape)
        self._curveless = Curveless()
        self._told: dict[Key, float] = {}

    async def run(self) -> None:
        """Look again and again, until cancelled. What goes wrong in one look is logged, and the next tries again."""
        try:
            while True:
                self._looks.asked.clear()
                await self._try()
                await self._wait()
        finally:
            if self._prometheus is not None:
                await self._prometheus.close()

    async def _wait(self) -> None:
        """Wait for the next look: for its time, or a moment when a service is new, in which others may come."""
        try:
            async with asyncio.timeout(self._how.period):
                await self._looks.asked.wait()
                await asyncio.sleep(SOON)
        except TimeoutError:
            pass

    async def _try(self) -> None:
        try:
            async with asyncio.timeout(LONGEST):
                await self.look()
        except Exception:
            logger.exception("cannot look at the metrics of services, next try in %.0f s", self._how.period)
            series.clear()  # the last values would be taken for new ones

    async def look(self) -> None:
        """Look once at everything."""
        await self._look_at_api()
        services = {key: service for key in self._cache.services() if (service := self._service(key)) is not None}
        self._forget(services)
        for key in services:
            self._starts.look(key, (entry.manifest for entry in self._cache.pods(key)))
        scaled = {key: service for key, service in services.items() if _is_scaled(service)}
        findings, blind = await self._find([service for service in scaled.values() if _asks(service)])
        looks = {key: self._look(service, findings.get(key), blind) for key, service in scaled.items()}
        for key, look in looks.items():
            self._tell(key, look)
        # In one go, between two awaits: a scrape sees either the old series or the new ones.
        series.clear()
        for key in services:
            series.export_service(key, self._starts.seconds(key), self._status(key))
        for key, look in looks.items():
            live = int(self._status(key).get("replicas") or 0)
            said = look.answers if self._how.tolerance else stepped(look.answers, live)
            series.export_rule(key, replace(look, answers=said))

    async def _look_at_api(self) -> None:
        api = await metrics_api.find(self._kube, self._how.namespace)
        if api is None or api == self._looks.api:
            return  # what cannot be seen at the moment has not changed hands
        self._looks.api = api
        for key in self._cache.services():
            self._queue.add(key)

    async def _find(self, services: Collection[Service]) -> tuple[dict[Key, Findings], dict[str, Answer]]:
        """Return the findings of each service; or none, and the answers that then stand for all of them."""
        if self._prometheus is None:
            return {}, unanswered(NOT_CONFIGURED, NO_PROMETHEUS)
        try:
            return (await self._prometheus.find(services) if services else {}), {}
        except PrometheusError as error:
            return {}, unanswered(error.reason, str(error))

    def _look(self, service: Service, findings: Findings | None, blind: dict[str, Answer]) -> Look:
        key = Key(service.namespace, service.name)
        cpu = self._cpu(service)
        if findings is None:
            return Look(blind, None, 0.0, cpu)
        found = self._teller.tell(service, findings, self._standing(service), self._status(key).get("readyReplicas"))
        return Look(found, findings, self._curveless.seconds(key, found, findings), cpu)

    def _tell(self, key: Key, look: Look) -> None:
        now = time.monotonic()
        if worth_telling(self._looks.by_service.get(key), look, now - self._told.get(key, now)):
            self._looks.by_service[key], self._told[key] = look, now
            self._queue.add_after(key, 0.0)

    def _service(self, key: Key) -> Service | None:
        """Return a service as parsed; None for one that is going, or that cannot be read."""
        live = self._cache.service(key)
        if live is None or "deletionTimestamp" in live["metadata"]:
            return None
        return self._parsed.look(live).service

    def _status(self, key: Key) -> Manifest:
        return (self._cache.service(key) or {}).get("status") or {}

    def _standing(self, service: Service) -> Standing:
        """Return the objects of ours that scale a service."""
        both = (kinds.HORIZONTAL_POD_AUTOSCALER, kinds.SCALED_OBJECT)
        return Standing(*(self._cache.get(kind, service.namespace, service.name) for kind in both))

    def _cpu(self, service: Service) -> int | None:
        if service.spec.scaling is None or service.spec.scaling.cpu is None:
            return None
        ours = self._cache.get(kinds.HORIZONTAL_POD_AUTOSCALER, service.namespace, service.name)
        return measured_cpu(ours or keda_autoscaler(self._cache, service))

    def _forget(self, services: Collection[Key]) -> None:
        self._starts.keep(services)
        self._curveless.keep(services)
        self._teller.keep(services)
        # Also of those that cannot be read at the moment: they are parsed again when their spec has changed.
        self._parsed.keep(self._cache.services())
        known: tuple[dict[Key, Any], ...] = (self._told, self._looks.by_service)
        for table in known:
            for key in table.keys() - set(services):
                del table[key]


def _is_scaled(service: Service) -> bool:
    return service.spec.scaling is not None and service.spec.scaling.max_replicas is not None


def _asks(service: Service) -> bool:
    return service.spec.scaling is not None and service.spec.scaling.external()
