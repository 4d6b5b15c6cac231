"""Clients, users, autoscalers, administrators and accidents: what else happens to a service."""

from collections.abc import Callable

from mooring_operator.api import names
from tests.support.stateful_world.cluster import Cluster
from tests.support.stateful_world.judge import Judge
from tests.support.stateful_world.replica import Session, Store, place

KEYS = [f"c{number}" for number in range(12)]


class People:
    """Each method is one event; what cannot happen now does nothing."""

    def __init__(self, cluster: Cluster, judge: Judge) -> None:
        self.cluster, self.judge, self.random = cluster, judge, cluster.random
        self.most = 6

    # --- sessions

    def client(self) -> None:
        """Make a session, or a step of one."""
        key = self.random.choice(KEYS)
        holders = [o for o in self.judge.holders(key) if self.cluster.serving(o) is not None]
        if holders:
            self._step(key, holders[0])
        elif not self.judge.holders(key):
            self._create(key)

    def _step(self, key: str, ordinal: int) -> None:
        store, version = self.cluster.serving(ordinal), self.cluster.version_at(ordinal)
        if store is None or (version.forgets and store.sessions[key].version != version.name):
            return
        session = store.sessions[key]
        session.step, session.version = session.step + 1, version.name
        self.judge.served(ordinal, store)
        self.judge.stepped(key, session.step)

    def _create(self, key: str) -> None:
        for ordinal in self.random.sample(list(self.cluster.pods), len(self.cluster.pods)):
            store = self.cluster.serving(ordinal)
            if store is None or store.record is None or place(key, store.record.size) != ordinal:
                continue
            asked = {place(key, size) for size in store.record.past} - {ordinal}
            others = [self._asked(other, store) for other in asked]
            if all(other is not None and key not in other.sessions for other in others):
                self.judge.served(ordinal, store)
                if key in self.judge.acknowledged and not self.judge.holders(key):
                    self.judge.object(f"{key} is created anew at {ordinal}")
                self.judge.created(key)
                store.sessions[key] = Session(1, self.cluster.pods[ordinal].template)
            return

    def _asked(self, ordinal: int, who: Store) -> Store | None:
        """A replica that can answer the question of another one."""
        store = self.cluster.running(ordinal)
        fits = store is not None and not store.misfit(ordinal) and store.record == who.record
        return store if fits else None

    def replica(self) -> None:
        """One replica adopts the mounted record, or hands a session over."""
        if not self.cluster.pods:
            return
        ordinal = self.random.choice(list(self.cluster.pods))
        store = self.cluster.running(ordinal)
        if store is None:
            return
        kept = self.cluster.config_map
        if kept is not None and self.random.random() < 0.1:
            if store.adopt(kept.record):
                self.cluster.adopted(kept.record)
        elif not store.misfit(ordinal):
            self._hand_over(ordinal, store)

    def _hand_over(self, ordinal: int, store: Store) -> None:
        foreign = store.foreign(ordinal)
        if not foreign or store.record is None:
            return
        key = self.random.choice(foreign)
        to = place(key, store.record.size)
        other = self._asked(to, store)
        if other is None or not self.cluster.pods[to].ready:
            return
        version = self.cluster.version_at(to)
        if version.forgets and store.sessions[key].version != version.name:
            return
        self.judge.served(to, other)
        other.sessions[key] = store.sessions.pop(key)

    # --- who asks for something

    def resize(self) -> None:
        """Somebody or something writes `replicas`."""
        asked = self.cluster.asked
        if asked.autoscaler is None:
            asked.replicas = self.random.randint(1, self.most)
            return
        least, most = asked.autoscaler
        if self.random.random() < 0.5:
            asked.replicas, asked.scaled_by = self.random.randint(least, most), names.AUTOSCALER_FIELD_MANAGER
        else:  # kubectl apply, replace, drop, or scale
            asked.replicas, asked.scaled_by = self.random.randint(1, most), self.random.choice(["", "kubectl"])

    def bounds(self) -> None:
        """A user gives the autoscaler another maximum."""
        if self.cluster.asked.autoscaler is not None:
            self.cluster.asked.autoscaler = (1, self.random.randint(2, self.most))

    def reapply(self) -> None:
        """Somebody deletes the service, which keeps its volumes, and applies it again."""
        if self.cluster.stateful_set is None or self.random.random() < 0.7:
            return  # Rarely: what goes on for long is over with it.
        self.cluster.stateful_set = None
        for pod in self.cluster.pods.values():
            pod.ending, pod.ready = True, False
        self.cluster.asked.uid = self.cluster.number()
        self.resize()

    def rollout(self) -> None:
        """A user asks for another version."""
        self.cluster.asked.version = self.random.choice(list(self.cluster.versions))

    def grow(self) -> None:
        """A user asks for larger volumes."""
        self.cluster.asked.volume += 1

    # --- what goes wrong

    def crash(self) -> None:
        """A process ends and starts again."""
        pods = [pod for pod in self.cluster.pods.values() if pod.node and self.cluster.nodes.get(pod.node)]
        if pods:
            self.cluster.open(self.random.choice(pods))

    def drain(self) -> None:
        """Somebody evicts a pod."""
        if self.cluster.pods:
            pod = self.random.choice(list(self.cluster.pods.values()))
            self.cluster.evict(pod.ordinal, pod.uid)

    def node(self) -> None:
        """A node is lost, or comes back; what ran there starts again, or ends."""
        name = self.random.choice(list(self.cluster.nodes))
        up = self.cluster.nodes[name] = not self.cluster.nodes[name]
        for pod in self.cluster.pods.values():
            if pod.node == name and up and not pod.ending:
                self.cluster.open(pod)
            elif pod.node == name and not up:
                pod.ready = False
                pod.ending = pod.ending or self.random.random() < 0.5

    def force(self) -> None:
        """Somebody deletes a pod that waits for a lost node, by force: its node is surely off."""
        for ordinal, pod in list(self.cluster.pods.items()):
            if pod.ending and pod.node and not self.cluster.nodes[pod.node]:
                del self.cluster.pods[ordinal]
                return

    def lose_record(self) -> None:
        """Somebody deletes the ConfigMap."""
        kept = self.cluster.config_map
        known = [claim.store.record for claim in self.cluster.claims.values() if claim.store is not None]
        if kept is not None and kept.record.lost and kept.record not in known:
            return  # That a store was given up is not known to anybody else yet.
        if not self.judge.destroyed and not self.lost():
            self.cluster.config_map = None

    def lose_volume(self) -> None:
        """A volume is gone for good; somebody deletes its claim and its pod."""
        whole = self.cluster.config_map is not None and not self.judge.destroyed and not self.lost()
        claims = [o for o, claim in self.cluster.claims.items() if claim.store is not None]
        if not whole or not claims:
            return
        ordinal = self.random.choice(claims)
        store = self.cluster.claims[ordinal].store
        assert store is not None
        self.judge.lost(ordinal, store)
        del self.cluster.claims[ordinal]
        self.cluster.pods.pop(ordinal, None)

    def lost(self) -> dict[int, str]:
        """Stores that the record names, that are on no volume any more, and that nobody has given up."""
        kept = self.cluster.config_map
        if kept is None:
            return {}
        there = {claim.store.id for claim in self.cluster.claims.values() if claim.store is not None}
        return {o: store for o, store in kept.record.stores.items() if store not in {*there, *kept.record.lost}}

    def give_up(self) -> None:
        """Somebody annotates the service with what is lost."""
        lost = self.lost()
        self.cluster.asked.abandon = self.random.choice([*lost.values()]) if lost else ""
        for ordinal, store in list(self.judge.destroyed.items()):
            kept = self.cluster.config_map
            if kept is not None and store.id in kept.record.lost:
                del self.judge.destroyed[ordinal]

    def clear(self) -> None:
        """Somebody does what the status says: volumes that were given up go, and a good version is tried again."""
        kept, found = self.cluster.config_map, self.cluster.stateful_set
        for ordinal, claim in list(self.cluster.claims.items()):
            if kept is not None and claim.store is not None and claim.store.id in kept.record.lost:
                del self.cluster.claims[ordinal]
                self.cluster.pods.pop(ordinal, None)
        if found is None:
            return
        if self.cluster.versions[self.cluster.asked.version].good:
            found.marks.pop(names.ANNOTATION_FAILED_TEMPLATE, None)
        elif names.ANNOTATION_GOOD_TEMPLATE not in found.marks:
            self.cluster.asked.version = "v2"  # There is nothing to go back to.

    def mistake(self) -> None:
        """Somebody annotates the service with a store that is not lost."""
        kept = self.cluster.config_map
        if kept is not None and kept.record.stores and self.random.random() < 0.3:
            self.cluster.asked.abandon = self.random.choice(list(kept.record.stores.values()))

    def events(self) -> list[tuple[int, Callable[[], None]]]:
        """All, with their weights."""
        return [
            (40, self.client),
            (60, self.replica),
            (3, self.resize),
            (1, self.rollout),
            (1, self.grow),
            (3, self.crash),
            (3, self.drain),
            (2, self.node),
            (4, self.force),
            (1, self.lose_record),
            (1, self.lose_volume),
            (6, self.give_up),
            (1, self.mistake),
            (1, self.bounds),
            (1, self.reapply),
        ]
