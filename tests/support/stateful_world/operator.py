"""An operator: it sees, asks, plans by the real plan, and acts. It may die, or be overtaken, between any two acts."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any, NamedTuple

from mooring_operator.api.membership import Report
from mooring_operator.facts import Failure, Members, ObjectKey, Observed, Pod, Service, Step
from mooring_operator.plan import plan
from tests.support.builders import NAME
from tests.support.builders import service as any_service
from tests.support.stateful_world import cluster as simulated
from tests.support.stateful_world.cluster import Asked, Cluster
from tests.support.stateful_world.judge import Judge

DEADLINE = 90
"""Seconds."""


class Versions(NamedTuple):
    """Of the objects that were seen."""

    config_map: int
    stateful_set: int


class Operator:
    """One process of it."""

    def __init__(self, cluster: Cluster, judge: Judge) -> None:
        self.cluster, self.judge = cluster, judge
        self._round: Iterator[None] | None = None

    def act(self) -> None:
        """Go on until the next point at which anything else may happen."""
        if self._round is None:
            self._round = self._rounds()
        try:
            next(self._round)
        except StopIteration:
            self._round = None

    def _rounds(self) -> Iterator[None]:
        cluster = self.cluster
        service, wanted = service_of(cluster), replace(cluster.asked)
        seen, found = see(cluster), cluster.stateful_set
        versions = Versions(
            0 if cluster.config_map is None else cluster.config_map.version, 0 if found is None else found.version
        )
        yield
        reports: dict[int, Report] = {}
        for ordinal in list(cluster.pods):
            store = cluster.running(ordinal)
            if store is not None:
                reports[ordinal] = store.report(ordinal, cluster.version_at(ordinal))
            if cluster.random.random() < 0.2:
                yield
        members = seen.members
        assert members is not None
        members = Members(**{**vars(members), "reports": reports})
        seen = Observed(**{**vars(seen), "members": members})
        step = plan(service, seen, wanted.version)
        self.judge.decided(service, seen, step)
        yield from self._do(wanted, step, members, versions)

    def _do(self, wanted: Asked, step: Step, members: Members, versions: Versions) -> Iterator[None]:
        cluster, moves = self.cluster, step.moves
        assert moves is not None and step.replicas is not None
        kept = moves.record or members.record
        if kept is not None and (moves.record is not None or dict(moves.notes) != dict(members.notes)):
            if not cluster.keep(kept, moves.notes, versions.config_map):
                return
            for given_up in set(kept.lost) - set(() if members.record is None else members.record.lost):
                self.judge.given_up(given_up)
            yield
        for ordinal in moves.tell:
            store = cluster.running(ordinal)
            if store is not None and kept is not None and store.adopt(kept):
                self.cluster.adopted(kept)
            yield
        if not self._mark(wanted, step, versions.stateful_set):
            return
        yield
        if not moves.recreate and not self._apply(wanted, step, versions):
            return
        yield
        for ordinal, claim in cluster.claims.items():
            size = moves.grow.get(f"sessions-{NAME}-{ordinal}")
            if size is not None:
                self.judge.grown(claim.size, int(size.removesuffix("Gi")))
                claim.size = max(claim.size, int(size.removesuffix("Gi")))
        yield
        if moves.recreate:
            if cluster.stateful_set is None or cluster.stateful_set.version != versions.stateful_set:
                return
            cluster.stateful_set = None
            yield
            self._make_anew(wanted, step, versions)
        elif moves.evict is not None and moves.evict.ordinal is not None:
            cluster.evict(moves.evict.ordinal, int(moves.evict.uid))

    def _make_anew(self, wanted: Asked, step: Step, versions: Versions) -> None:
        if self._apply(wanted, step, versions):
            made = self.cluster.stateful_set
            self._mark(wanted, step, made.version if made is not None and not made.marks else 0)

    def _mark(self, wanted: Asked, step: Step, seen: int) -> bool:
        found = self.cluster.stateful_set
        if wanted.uid != self.cluster.asked.uid or not self.cluster.mark(step.marks, seen):
            return False
        self.judge.marked(found)
        return True

    def _apply(self, wanted: Asked, step: Step, versions: "Versions") -> bool:
        assert step.replicas is not None
        if wanted.uid != self.cluster.asked.uid:
            return False  # Its children would have an owner that is gone.
        template = wanted.version
        if step.template is not None:
            template = next(iter(step.template["metadata"]["annotations"].values()))
        volume = wanted.volume if step.volume_size is None else int(step.volume_size.removesuffix("Gi"))
        self.judge.scaled(step.replicas, wanted.drain)
        try:
            return self.cluster.apply(step.replicas, template, volume, versions.stateful_set)
        except simulated.Refused as error:
            self.judge.refused(str(error))
            return False


def service_of(cluster: Cluster) -> Service:
    """What the user wants."""
    asked = cluster.asked
    fields: dict[str, Any] = {
        "state": {
            "volume": {"size": f"{asked.volume}Gi"},
            "drainTimeout": f"{asked.drain}s",
            "retention": {"whenScaled": "Retain" if asked.keeps else "Delete"},
        },
        "rollout": {"progressDeadline": f"{DEADLINE}s"},
    }
    if asked.autoscaler is not None:
        least, most = asked.autoscaler
        fields["scaling"] = {"minReplicas": least, "maxReplicas": most, "cpu": {"target": 50}}
    return any_service(replicas=asked.replicas, **fields)


def see(cluster: Cluster) -> Observed:
    """What the operator's cache says, without the reports."""
    kept, found = cluster.config_map, cluster.stateful_set
    pods = [_pod(cluster, pod) for pod in cluster.pods.values()]
    members = Members(
        record=None if kept is None else kept.record,
        version="" if kept is None else str(kept.version),
        resized=None if kept is None else kept.resized,
        notes={} if kept is None else kept.notes,
        claims={o: simulated.claim_of(o, claim) for o, claim in cluster.claims.items() if claim.store is not None},
        revisions=tuple(
            {"data": {"spec": {"template": {"$patch": "replace", **simulated.template_of(each)}}}}
            for each in cluster.revisions
        ),
        lost_nodes={name: "kubelet is silent" for name, up in cluster.nodes.items() if not up},
        ending=tuple(pod for pod in pods if cluster.pods[pod.ordinal or 0].ending),
        scaled_by=cluster.asked.scaled_by,
        abandon=cluster.asked.abandon,
    )
    return Observed(
        now=cluster.now,
        status={},
        children={} if found is None else {ObjectKey("StatefulSet", NAME): simulated.manifest_of(found)},
        pods=tuple(pod for pod in pods if not cluster.pods[pod.ordinal or 0].ending),
        members=members,
    )


def _pod(cluster: Cluster, pod: simulated.Pod) -> Pod:
    failure = None
    if cluster.versions[pod.template].crashes and pod.restarts:
        failure = Failure("Error", "it crashes", "server", permanent=pod.restarts >= 2)
    return Pod(
        name=f"{NAME}-{pod.ordinal}",
        template_hash=pod.template,
        ready=pod.ready and bool(cluster.nodes.get(pod.node)),
        scheduled=bool(pod.node),
        failure=failure,
        uid=str(pod.uid),
        node=pod.node,
        ordinal=pod.ordinal,
    )
