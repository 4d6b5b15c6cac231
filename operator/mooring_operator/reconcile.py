"""The loop: observe, validate, plan, render, apply, prune, tell. One function for create, update and resync.

It is level-triggered: nothing here asks what happened, only what is. An error goes up to the queue, which tries the
same service again later; a round that was cut off anywhere is simply the next round's starting point.
"""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from . import desired, plan, status, validation
from .cluster.apply import Applier
from .cluster.cache import Cache
from .cluster.events import EventRecorder
from .cluster.kube import Kube
from .cluster.looks import Looks
from .cluster.moves import Mover, guarded, without_stale_set
from .cluster.observe import Observer
from .cluster.pace import Pace
from .cluster.peers import Peers
from .facts import Cluster, Key, Manifest, Moves, ObjectKey, Observed, Problem, Service, Step
from .scaling import rule
from .status import Rendered, Verdicts

SOON = 5.0
"""Seconds until a round looks again at what sends us no event: free accelerators, classes, foreign objects."""

NEW = 0.5
"""Seconds until the first look at children that were just made: a status now would be one more write for each of many
services that come at once, and would say only that nothing is there yet."""

LATER = 15.0
"""Seconds until a child that the API server refused is tried again: a quota or a policy may have changed."""


class Reconciler:
    """Brings one service at a time to what its spec asks, and its status to what is."""

    def __init__(
        self,
        kube: Kube,
        cache: Cache,
        cluster: Cluster,
        recorder: EventRecorder,
        peers: Peers,
        looks: Looks | None = None,
    ) -> None:
        self._looks = Looks() if looks is None else looks
        self._cache = cache
        self._cluster = cluster
        self._recorder = recorder
        self._observer = Observer(kube, cache, peers)
        self._applier = Applier(kube, cache)
        self._mover = Mover(kube, cache, peers)
        self._peers = peers
        self._pace = Pace()

    async def reconcile(self, key: Key) -> float | None:
        """Run one round; return the seconds after which to look again, or None to wait for events."""
        live = self._cache.service(key)
        if live is None or "deletionTimestamp" in live["metadata"]:
            self._pace.forget(key)
            self._peers.forget(key)
            return None  # the children go by their owner references
        service = validation.parse_service(live)
        if isinstance(service, list):
            before, generation = live.get("status") or {}, live["metadata"]["generation"]
            await self._tell(live, status.invalid(before, generation, service, datetime.now(UTC)))
            return None
        observed = await self._observer.observe(service, live)
        unbuilt = validation.not_built(service.spec)
        obstacles = validation.check(service, observed, replace(self._cluster, peer_key=bool(self._peers.key)))
        rendered = self._render(service, [*unbuilt, *obstacles])
        step, scaling = Step(hold=True), replace(self._cluster, metrics_api=self._looks.api)
        look = self._looks.of(key, service)
        scaler = rule.scaler(service, scaling, observed, look)
        if unbuilt or obstacles:
            if not service.spec.suspend and self._peers.key:
                # A bad edit does not hold sessions up that are on their way.
                step = plan.hold(service, observed)
                obstacles += await self._keep(live, service, observed, step)
        elif not service.spec.suspend:
            step = plan.plan(service, observed, rendered.template_hash)
            if observed.members is not None:
                step = replace(step, access_mode=observed.members.access_mode)
            step = replace(step, scaler=scaler)
            obstacles = await self._act(live, service, observed, step)
            if not observed.children and not obstacles:
                return NEW  # what was made this moment has nothing to tell yet
        unscaled = validation.check_scaling(service.spec.scaling, scaling)
        verdicts = Verdicts((*unbuilt, *obstacles), tuple(unscaled), look)
        told = replace(step, scaler=scaler)
        await self._tell(live, status.status_of(service, observed, told, rendered, verdicts))
        # An accelerator that becomes free, or that someone else took from under a rollout, sends us no event.
        waits = bool(observed.nodes) and any(pod.unschedulable for pod in observed.pods)
        if any(problem.reason in {"ChildRefused", "VolumeCannotGrow"} for problem in obstacles):
            return LATER
        if obstacles or step.check or waits or scaler.waits:
            return SOON
        return self._pace.next(key, observed, step) if observed.members is not None else None

    def _render(self, service: Service, problems: list[Problem]) -> Rendered:
        # A spec that cannot be rendered has no version of its own; what serves is then told as an earlier one.
        template_hash = "" if problems else desired.template_hash(service, self._cluster)
        return Rendered(template_hash, desired.pod_selector(service), desired.url(service))

    async def _act(self, live: Manifest, service: Service, observed: Observed, step: Step) -> list[Problem]:
        """Write what the step asks for; return what the API server will not take, which trying again cannot mend."""
        members, moves = observed.members, step.moves or Moves()
        if found := await self._keep(live, service, observed, step):
            return found
        children = desired.children(service, self._cluster, step)
        # Marks first: a rollback whose mark was lost would try the failed version again, and take the pod again.
        workload = observed.children.get(ObjectKey(desired.workload_kind(service), service.name))
        await self._applier.apply_marks(service, step.marks, workload)
        applied = guarded(service, without_stale_set(service, children, moves, observed), observed)
        refused = await self._applier.apply_children(service, applied)
        await self._applier.prune(service, children, desired.held(service, step), desired.KEPT_KINDS)
        if members is None or refused:
            return refused
        refused = await self._mover.after_children(service, observed, moves)
        if moves.recreate and not refused:
            refused = await self._applier.apply_children(service, children)
        # Those of a StatefulSet that was made in this round.
        await self._applier.apply_marks(service, step.marks, workload)
        return refused

    async def _keep(self, live: Manifest, service: Service, observed: Observed, step: Step) -> list[Problem]:
        """Keep and tell the membership of a stateful service; return what stands in the way."""
        members, moves = observed.members, step.moves
        if members is None or moves is None or (step.hold and members.record is None and moves.record is None):
            return []
        found = await self._mover.before_children(service, members, moves)
        if not found and (lost := status.given_up(members, moves)):
            self._recorder.record(live, "Warning", "SessionsLost", lost)
        return found

    async def _tell(self, live: Manifest, wanted: dict[str, Any]) -> None:
        before = live.get("status") or {}
        if await self._applier.write_status(live, wanted):
            for transition in status.transitions(before, wanted):
                self._recorder.record(live, transition.type, transition.reason, transition.message)
