"""What must hold at every event, and at the end."""

from datetime import timedelta

from mooring_operator.api import names
from mooring_operator.api.membership import Record
from mooring_operator.facts import Members, ObjectKey, Observed, Service, Step
from tests.support.builders import NAME
from tests.support.stateful_world.cluster import Cluster, StatefulSet
from tests.support.stateful_world.replica import Store, place


class Judge:
    """`violations` is what was wrong."""

    def __init__(self, cluster: Cluster, *, alone: bool) -> None:
        self.cluster = cluster
        self.alone = alone
        """One operator: nothing that it does rests on what it saw long ago."""
        self.violations: list[str] = []
        self.acknowledged: dict[str, int] = {}
        self.destroyed: dict[int, Store] = {}
        """Stores whose volumes are lost, and that nobody has given up yet, by ordinal."""
        self._epochs: dict[int, Record] = {}
        self._given_up: dict[str, None] = {}
        self._good: set[int] = set()
        self.evictions = 0
        cluster.adopted = self.adopted

    def object(self, text: str) -> None:
        """Something is wrong."""
        self.violations.append(text)

    # --- sessions

    def holders(self, key: str) -> list[int]:
        """The ordinals whose volumes have a session, but for stores that were given up."""
        return [
            ordinal
            for ordinal, claim in self.cluster.claims.items()
            if claim.store is not None and claim.store.id not in self._given_up and key in claim.store.sessions
        ]

    def served(self, ordinal: int, store: Store) -> None:
        """A replica has created, taken or stepped something."""
        gone = self.destroyed.get(ordinal)
        if gone is not None and (store.record is None or gone.id not in store.record.lost):
            self.object(f"replica {ordinal} goes on with store {store.id} in place of {gone.id}, which nobody gave up")

    def created(self, key: str) -> None:
        """A session was made from nothing."""
        if holders := self.holders(key):
            self.object(f"{key} was created, and is at {holders}")
        if key in self.acknowledged:
            self.object(f"{key} was created anew, and had {self.acknowledged[key]} steps")
        self.acknowledged[key] = 1

    def stepped(self, key: str, step: int) -> None:
        """A step was answered."""
        # Given up, and handed over all the same: the record went before its holder had heard. No step is lost by that.
        known = self.acknowledged.get(key, step - 1)
        if step != known + 1:
            self.object(f"{key}: step {step} was answered after {known}")
        self.acknowledged[key] = step

    def lost(self, ordinal: int, store: Store) -> None:
        """A volume is gone with what is on it."""
        if store.id not in self._given_up:
            for key in store.sessions:
                self.acknowledged.pop(key, None)
            if store.sessions:
                self.destroyed[ordinal] = store
        others = [claim.store for claim in self.cluster.claims.values() if claim.store is not None]
        left = [other.record for other in others if other is not store]
        if store.record is not None and store.record not in left:
            self._epochs.pop(store.record.epoch, None)  # Nobody who is left was told of it.

    def given_up(self, store: str) -> None:
        """The record calls a store lost."""
        if store in self._given_up:
            return
        self._given_up[store] = None
        for ordinal, claim in self.cluster.claims.items():
            if claim.store is None or claim.store.id != store:
                continue
            if self.cluster.running(ordinal) is not None and self.alone:
                self.object(f"replica {ordinal} runs with {store}, and it is given up")
            for key in claim.store.sessions:
                self.acknowledged.pop(key, None)

    # --- the operator

    def adopted(self, record: Record) -> None:
        """A replica goes by a record."""
        other = self._epochs.setdefault(record.epoch, record)
        stores = [claim.store for claim in self.cluster.claims.values() if claim.store is not None]
        if other != record and any(store.record == other for store in stores):
            self.object(f"two records of one epoch were told: {other} and {record}")
        # One that everybody has left behind is told again only by who was held up since, to who knows none: the next
        # round takes the latest over.
        self._epochs[record.epoch] = record

    def grown(self, before: int, after: int) -> None:
        """A claim was patched."""
        if after < before and self.alone:
            self.object(f"a claim was to shrink from {before} to {after}")

    def refused(self, why: str) -> None:
        """The API server will never take what was written: so it is where another operator has written meanwhile."""
        if self.alone:
            self.object(why)

    def marked(self, found: StatefulSet | None) -> None:
        """The marks of the rollout were written: while a version is known to be good, there is one to go back to."""
        good = names.ANNOTATION_GOOD_TEMPLATE
        if found is not None and found.uid in self._good and good not in found.marks:
            self.object(f"which version is good is not known any more: {found.marks}")
        if found is not None and good in found.marks:
            self._good.add(found.uid)

    def scaled(self, replicas: int, drain: int) -> None:
        """The StatefulSet is to have so many pods: who goes must have nothing, or have had its time, and be kept."""
        cluster = self.cluster
        found, kept = cluster.stateful_set, cluster.config_map
        if found is None or kept is None or not self.alone:
            return
        for ordinal in range(replicas, found.replicas):
            claim = cluster.claims.get(ordinal)
            store = None if claim is None else claim.store
            if store is None or not store.sessions or store.id in kept.record.lost:
                continue
            began = max(kept.resized, found.made)
            if not cluster.asked.keeps or cluster.now - began < timedelta(seconds=drain):
                self.object(f"replica {ordinal} is taken away with {len(store.sessions)} sessions")

    def decided(self, service: Service, seen: Observed, step: Step) -> None:
        """A plan, beside what it was made from."""
        members, moves = seen.members, step.moves
        assert members is not None and moves is not None
        if moves.record is not None:
            self._written(service, members, moves.record)
        if moves.evict is not None and moves.evict.ready:
            self.evictions += 1
            self._evicts(service, seen, members, moves.evict.ordinal)
        if step.stalled and not step.message:
            self.object("stalled without a word")

    def _written(self, service: Service, members: Members, record: Record) -> None:
        kept, told = members.record, [each.record for each in members.reports.values() if each.record is not None]
        if any(record.epoch <= each.epoch and record != each for each in (*told, *([kept] if kept else []))):
            self.object(f"{record} does not follow on {kept} and {told}")
        most = None if service.spec.scaling is None else service.spec.scaling.max_replicas
        shrinks = kept is not None and record.size < kept.size and record not in told
        if most is None or not shrinks or record.size == most:
            return
        if members.scaled_by != names.AUTOSCALER_FIELD_MANAGER:
            self.object(f"{kept} shrinks to {record.size}, and it was not the autoscaler that asked for it")

    def _evicts(self, service: Service, seen: Observed, members: Members, ordinal: int | None) -> None:
        found = seen.children[ObjectKey("StatefulSet", NAME)]
        count = found["spec"]["replicas"]
        reach = count if members.record is None else members.record.reach
        others = {o: pod for pod in seen.pods if (o := pod.ordinal) is not None and o != ordinal and o < count}
        for other in range(min(reach, count)):
            if other != ordinal and (other not in others or not others[other].ready):
                self.object(f"replica {ordinal} is evicted while {other} is down")
        marks, target = found["metadata"]["annotations"], found["spec"]["template"]["metadata"]["annotations"]
        version = next(iter(target.values()))
        if marks.get(names.ANNOTATION_GOOD_TEMPLATE) == version:
            return
        for other, pod in others.items():
            if other >= reach and not pod.node:
                continue  # It is to become a member some day; no node takes it, and it has no sessions.
            report = members.reports.get(other)
            if pod.template_hash == version and (report is None or report.unreadable):
                self.object(f"replica {ordinal} is evicted for {version}, and {other} cannot go on with it: {report}")

    # --- the end

    def settled(self) -> str:
        """Return what is not yet as it should be in the end; empty when all is."""
        cluster, asked = self.cluster, self.cluster.asked
        kept, found = cluster.config_map, cluster.stateful_set
        if kept is None or found is None or not kept.record.settled or kept.record.size != asked.replicas:
            return f"membership: {kept}, wanted {asked.replicas}"
        if found.replicas != asked.replicas or sorted(cluster.pods) != list(range(asked.replicas)):
            return f"StatefulSet: {found.replicas}, pods {sorted(cluster.pods)}"
        refused = found.marks.get(names.ANNOTATION_FAILED_TEMPLATE) == asked.version
        version = found.marks.get(names.ANNOTATION_GOOD_TEMPLATE, "") if refused else asked.version
        for ordinal, pod in cluster.pods.items():
            store = cluster.serving(ordinal)
            if store is None or store.record != kept.record or pod.template != version:
                return f"replica {ordinal} of {version}: {pod}, {store and store.record}, {kept.record}"
        # The StatefulSet is made anew only where no version stands that was refused.
        small = found.volume < asked.volume and not refused
        if small or any(claim.size < asked.volume for claim in cluster.claims.values() if claim.store is not None):
            return f"volumes: {cluster.claims}, {found.volume}"
        return ""

    def homes(self) -> None:
        """Every session is at its place, with all its steps."""
        for key, step in self.acknowledged.items():
            home = place(key, self.cluster.asked.replicas)
            if self.holders(key) != [home]:
                self.object(f"{key} is at {self.holders(key)}, should be at {home}")
                continue
            store = self.cluster.claims[home].store
            if store is None or store.sessions[key].step != step:
                self.object(f"{key} was answered {step} steps, and has {store and store.sessions[key]}")
