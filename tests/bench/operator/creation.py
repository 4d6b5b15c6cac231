"""How long it takes until all children of all services exist: the operator, and a plain client for comparison.

Both times come from the API server's audit log, from the arrival of the first request until the answer to the last
apply of a child. For the operator that includes the creation of the services themselves; the plain client finds them
made, with an operator that is not there.
"""

import asyncio
import time
from dataclasses import dataclass
from typing import Any

from mooring_operator import desired
from mooring_operator.api import names
from mooring_operator.cluster import kinds
from mooring_operator.cluster.ownership import digest
from mooring_operator.facts import Cluster, Service, Step
from mooring_operator.handlers.installation import installation
from mooring_operator.settings import Settings
from mooring_operator.validation import parse_service
from tests.bench.operator import ground
from tests.bench.operator.audit import Write
from tests.bench.operator.client import Client, Manifest, in_flight
from tests.bench.operator.ground import Ground, NotMeasuredError
from tests.bench.operator.process import Operator

PATIENCE = 120.0
"""Seconds until a side that has not made all children is given up."""
_RESOURCES = frozenset(kind.plural for kind in kinds.CHILDREN)


@dataclass(frozen=True)
class Creation:
    """How one side did.

    Attributes:
        seconds: from the first request to the last child.
        services_seconds: of these, until the last service was made; 0 for the plain client.
        children: how many were made.
        writes: how many writes the operator's account sent until the last child stood.
        cpu: seconds of CPU that each part used, as far as it took part: the time is theirs, on a machine of few cores.
    """

    seconds: float
    services_seconds: float
    children: int
    writes: int
    cpu: dict[str, float]


async def plain(on: Ground, admin: Client, namespace: str) -> Creation:
    """Apply the children of all services, as many at once as the operator may, with the operator's own rights."""
    await ground.make_services(admin, namespace)
    facts = cluster_facts(on)
    manifests = [child for service in await _services(admin, namespace) for child in rendered(service, facts)]
    await on.settle()
    measure = _Measure(on, namespace, len(manifests))
    async with Client.of(on.kubeconfig) as client:
        await in_flight(
            manifests, lambda child: client.apply(kinds.CHILD_BY_KIND[child["kind"]], child, names.FIELD_MANAGER)
        )
    return await measure.creation()


async def by_operator(on: Ground, operator: Operator, admin: Client, namespace: str) -> Creation:
    """Create all services beside a running operator; return when all their children stand."""
    template = ground.service("any")
    one = parse_service({**template, "metadata": {**template["metadata"], "namespace": namespace, "uid": "any"}})
    assert isinstance(one, Service)
    expected = ground.SERVICES * len(rendered(one, cluster_facts(on)))
    await on.settle()
    measure = _Measure(on, namespace, expected, operator)
    making = asyncio.create_task(ground.make_services(admin, namespace))
    creation = await measure.creation()
    await making
    return creation


async def check_children(on: Ground, admin: Client, namespace: str) -> None:
    """Raise `NotMeasuredError` unless the operator's children are those that the plain client applies."""
    facts = cluster_facts(on)
    wanted = {
        (child["kind"], child["metadata"]["name"]): digest(child)
        for service in await _services(admin, namespace)
        for child in rendered(service, facts)
    }
    found = {
        (kind.kind, live["metadata"]["name"]): live["metadata"]
        .get("annotations", {})
        .get(names.ANNOTATION_DESIRED_HASH)
        for kind in kinds.CHILDREN
        for live in await admin.items(kind, namespace)
    }
    different = [key for key, value in wanted.items() if found.get(key) != value]
    if different:
        raise NotMeasuredError(
            f"{len(different)} children are not what the plain client applies, such as {different[0]}"
        )


def rendered(service: Service, facts: Cluster) -> list[Manifest]:
    """Return the children of a new service, as the operator renders them."""
    return desired.children(service, facts, Step(replicas=service.spec.replicas))


def cluster_facts(on: Ground) -> Cluster:
    """Return what the operator knows of the cluster, from the same settings."""
    prefix = "MOORING_"
    variables: dict[str, Any] = {
        key.removeprefix(prefix).lower(): value for key, value in on.env.items() if key.startswith(prefix)
    }
    return installation(Settings(**variables))


async def _services(admin: Client, namespace: str) -> list[Service]:
    found = [parse_service(live) for live in await admin.items(kinds.INFERENCE_SERVICE, namespace)]
    return [service for service in found if isinstance(service, Service)]


class _Measure:
    """Follows the audit log until so many children were made in a namespace."""

    def __init__(self, on: Ground, namespace: str, expected: int, operator: Operator | None = None) -> None:
        self._on = on
        self._namespace = namespace
        self._expected = expected
        self._operator = operator
        self._tail = on.tail()
        self._cpu = self._used()

    async def creation(self) -> Creation:
        """Return how it went, once all children stand. Raises `NotMeasuredError` when that takes too long."""
        deadline = time.monotonic() + PATIENCE
        seen: list[Write] = []
        made: dict[tuple[str, str], Write] = {}
        while len(made) < self._expected:
            if time.monotonic() > deadline:
                raise NotMeasuredError(f"{len(made)} of {self._expected} children stood after {PATIENCE:.0f} s")
            await asyncio.sleep(0.1)
            fresh = [write for write in self._tail.writes() if write.namespace == self._namespace]
            seen += fresh
            made |= {(write.resource, write.name): write for write in fresh if _made_child(write)}
        services = [write for write in seen if write.resource == kinds.INFERENCE_SERVICE.plural and write.code == 201]
        begin = min(write.received for write in [*services, *made.values()])
        end = max(write.answered for write in made.values())
        return Creation(
            seconds=(end - begin).total_seconds(),
            services_seconds=max(((write.answered - begin).total_seconds() for write in services), default=0.0),
            children=len(made),
            writes=sum(write.user == ground.USER and write.answered <= end for write in seen),
            cpu={part: used - self._cpu[part] for part, used in self._used().items()},
        )

    def _used(self) -> dict[str, float]:
        return {**self._on.cpu(), **({"operator": self._operator.cpu()} if self._operator else {})}


def _made_child(write: Write) -> bool:
    return write.user == ground.USER and write.resource in _RESOURCES and write.code == 201
