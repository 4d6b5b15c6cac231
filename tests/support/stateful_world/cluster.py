"""What Kubernetes keeps of one stateful service, and what its controllers make of that, one small event at a time."""

import random
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial

from mooring_operator.api import names
from mooring_operator.api.membership import Record
from mooring_operator.facts import Manifest
from tests.support.builders import NAME, NAMESPACE
from tests.support.stateful_world.replica import Store, Version


class Refused(Exception):  # noqa: N818 - named by what happened
    """The API server does not take a write, and never will."""


@dataclass
class Asked:
    """The InferenceService."""

    replicas: int = 1
    scaled_by: str = ""
    version: str = "v1"
    volume: int = 1
    """GiB."""
    autoscaler: tuple[int, int] | None = None
    keeps: bool = True
    """Claims are kept when replicas go."""
    abandon: str = ""
    drain: int = 60
    """Seconds."""
    uid: int = 0
    """Changes when the service is deleted and applied again."""


@dataclass
class ConfigMap:
    """The kept record."""

    record: Record
    resized: datetime
    notes: Mapping[str, str]
    version: int


@dataclass
class StatefulSet:
    """Its controller acts on what it has seen."""

    uid: int
    replicas: int
    template: str
    volume: int
    made: datetime
    generation: int = 1
    observed: int = 0
    marks: dict[str, str] = field(default_factory=dict)
    version: int = 0


@dataclass
class Claim:
    """A claim with its volume; `store` None: the volume is empty."""

    size: int
    store: Store | None = None


@dataclass
class Pod:
    """One pod; it has a process where it is on a node."""

    ordinal: int
    uid: int
    template: str
    node: str = ""
    ready: bool = False
    restarts: int = 0
    ending: bool = False


class Cluster:
    """The objects, and everything that changes them by itself."""

    def __init__(self, rng: random.Random, versions: Mapping[str, Version]) -> None:
        self.random, self.versions = rng, versions
        self.now = datetime(2026, 11, 23, tzinfo=UTC)
        self.asked = Asked()
        self.config_map: ConfigMap | None = None
        self.stateful_set: StatefulSet | None = None
        self.revisions: list[str] = []
        self.claims: dict[int, Claim] = {}
        self.pods: dict[int, Pod] = {}
        self.nodes = {"a": True, "b": True, "c": True}
        self.adopted: Callable[[Record], None] = lambda record: None
        """Called with each record that a replica begins to go by."""
        self._numbers = 0

    def number(self) -> int:
        """Never the same twice."""
        self._numbers += 1
        return self._numbers

    def tick(self) -> None:
        """Time passes."""
        self.now += timedelta(seconds=self.random.expovariate(2.0))

    # --- what processes can reach

    def running(self, ordinal: int) -> Store | None:
        """The store that a process has open now, and that others can ask."""
        pod, claim = self.pods.get(ordinal), self.claims.get(ordinal)
        if pod is None or claim is None or not pod.node or not self.nodes.get(pod.node):
            return None
        return claim.store

    def version_at(self, ordinal: int) -> Version:
        """What the pod at an ordinal runs."""
        return self.versions[self.pods[ordinal].template]

    def serving(self, ordinal: int) -> Store | None:
        """The store of a replica that answers clients."""
        pod, store = self.pods.get(ordinal), self.running(ordinal)
        return store if pod is not None and pod.ready and store is not None and not store.misfit(ordinal) else None

    # --- controllers and kubelets

    def controllers(self) -> bool:
        """One event of a controller or a kubelet; False: nothing is to be done."""
        events = [*self._set_events(), *self._pod_events()]
        if not events:
            return False
        self.random.choice(events)()
        return True

    def _set_events(self) -> Iterator[Callable[[], object]]:
        found = self.stateful_set
        if found is None:
            return
        if found.observed < found.generation:
            yield partial(setattr, found, "observed", found.generation)
        for ordinal in range(found.replicas):
            if ordinal not in self.pods and not self.versions[found.template].refused:
                yield partial(self._make, found, ordinal)
        for ordinal, pod in self.pods.items():
            if ordinal >= found.replicas and not pod.ending:
                yield partial(setattr, pod, "ending", True)
        for ordinal in self.claims:
            if not self.asked.keeps and ordinal >= found.replicas and ordinal not in self.pods:
                yield partial(self.claims.pop, ordinal)

    def _make(self, found: StatefulSet, ordinal: int) -> None:
        self.claims.setdefault(ordinal, Claim(found.volume))
        self.pods[ordinal] = Pod(ordinal, self.number(), found.template)

    def _pod_events(self) -> Iterator[Callable[[], object]]:
        for ordinal, pod in self.pods.items():
            if pod.ending:
                if not pod.node or self.nodes.get(pod.node):
                    yield partial(self.pods.pop, ordinal)
            elif not pod.node:
                if any(self.nodes.values()):
                    yield partial(self._start, pod)
            elif self.nodes[pod.node] and not pod.ready:
                yield partial(self._load, pod)

    def _start(self, pod: Pod) -> None:
        pod.node = self.random.choice([name for name, up in self.nodes.items() if up])
        self.open(pod)
        store = self.claims[pod.ordinal].store
        if self.config_map is not None and store is not None and store.adopt(self.config_map.record):
            self.adopted(self.config_map.record)  # It is mounted.

    def open(self, pod: Pod) -> None:
        """A process begins: it opens what is on the volume, or makes a store there."""
        claim = self.claims.setdefault(pod.ordinal, Claim(self.asked.volume))
        if claim.store is None:
            claim.store = Store(f"store{self.number()}")
        claim.store.boot += 1
        pod.ready = False

    def _load(self, pod: Pod) -> None:
        if self.versions[pod.template].crashes:
            pod.restarts += 1
            self.open(pod)
        else:
            pod.ready = True

    # --- the API, as the operator uses it

    def keep(self, record: Record, notes: Mapping[str, str], version: int) -> bool:
        """Write the record by compare-and-swap; False: somebody else has written."""
        found = self.config_map
        if (found.version if found is not None else 0) != version:
            return False
        same = found is not None and found.record.size == record.size
        resized = found.resized if found is not None and same else self.now
        self.config_map = ConfigMap(record, resized, dict(notes), self.number())
        return True

    def mark(self, marks: Mapping[str, str], seen: int) -> bool:
        """Apply the marks on the StatefulSet as it was seen; False: somebody else has written."""
        found = self.stateful_set
        if found is None or found.marks == marks:
            return True
        if found.version != seen:
            return False
        found.marks, found.version = dict(marks), self.number()
        return True

    def apply(self, replicas: int, template: str, volume: int, seen: int) -> bool:
        """Apply the StatefulSet, to take replicas away only as it was seen; False: somebody else has written."""
        found = self.stateful_set
        if found is None:
            self.stateful_set = StatefulSet(self.number(), replicas, template, volume, self.now, version=self.number())
        elif replicas < found.replicas and found.version != seen:
            return False
        elif found.volume != volume:
            raise Refused(f"volumeClaimTemplates are immutable: {found.volume} -> {volume}")
        elif (found.replicas, found.template) != (replicas, template):
            found.replicas, found.template = replicas, template
            found.generation, found.version = found.generation + 1, self.number()
        if template not in self.revisions:
            self.revisions.append(template)
        return True

    def evict(self, ordinal: int, uid: int) -> bool:
        """The eviction API, under a budget of one; a pod that is not ready may always go."""
        pod, found = self.pods.get(ordinal), self.stateful_set
        if pod is None or pod.uid != uid or pod.ending:
            return False
        if pod.ready and found is not None:
            others = [self.pods.get(other) for other in range(found.replicas) if other != ordinal]
            if not all(other is not None and other.ready for other in others):
                return False
        pod.ending, pod.ready = True, False
        return True


def manifest_of(found: StatefulSet) -> Manifest:
    """A StatefulSet as the operator's cache has it."""
    claim = {
        "metadata": {"name": names.CLAIM_SESSIONS},
        "spec": {"resources": {"requests": {"storage": f"{found.volume}Gi"}}},
    }
    return {
        "kind": "StatefulSet",
        "metadata": {
            "name": NAME,
            "namespace": NAMESPACE,
            "generation": found.generation,
            "creationTimestamp": found.made.isoformat(),
            "annotations": dict(found.marks),
        },
        "spec": {"replicas": found.replicas, "template": template_of(found.template), "volumeClaimTemplates": [claim]},
        "status": {"observedGeneration": found.observed},
    }


def template_of(version: str) -> Manifest:
    """A pod template."""
    return {"metadata": {"annotations": {names.ANNOTATION_TEMPLATE_HASH: version}}, "spec": {}}


def claim_of(ordinal: int, found: Claim) -> Manifest:
    """A claim as the operator's cache has it."""
    return {
        "metadata": {"name": f"{names.CLAIM_SESSIONS}-{NAME}-{ordinal}"},
        "spec": {"resources": {"requests": {"storage": f"{found.size}Gi"}}},
        "status": {"phase": "Bound"},
    }
