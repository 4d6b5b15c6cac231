"""One run: everything at random, from one seed, then calm, in which all must come to rest."""

import random
from collections.abc import Callable
from dataclasses import dataclass, field

from mooring_operator.api import names
from tests.support.stateful_world.cluster import Cluster
from tests.support.stateful_world.judge import Judge
from tests.support.stateful_world.operator import Operator
from tests.support.stateful_world.people import People
from tests.support.stateful_world.replica import Version

VERSIONS = {
    version.name: version
    for version in (
        Version("v1"),
        Version("v2"),
        Version("crashes", crashes=True),
        Version("refused", refused=True),
        Version("forgets", forgets=True),
    )
}
CALM = 3000


@dataclass(frozen=True)
class Scenario:
    """What may happen."""

    events: int = 1500
    operators: int = 1
    autoscaler: bool = False
    keeps: bool = True
    without: frozenset[str] = field(default_factory=frozenset)
    """Events of `People` that do not happen."""
    kills: float = 0.02
    """How often the operator dies instead of going on."""


class World:
    """A service and all around it."""

    def __init__(self, seed: int, scenario: Scenario) -> None:
        self.random, self.scenario = random.Random(seed), scenario
        self.cluster = Cluster(self.random, VERSIONS)
        asked = self.cluster.asked
        asked.keeps = scenario.keeps
        asked.replicas = self.random.randint(1, 3)
        asked.autoscaler = (1, 6) if scenario.autoscaler else None
        self.judge = Judge(self.cluster, alone=scenario.operators == 1)
        self.people = People(self.cluster, self.judge)
        self._active = 0
        self.operators = [Operator(self.cluster, self.judge) for _ in range(scenario.operators)]

    @property
    def violations(self) -> list[str]:
        """What was wrong."""
        return self.judge.violations

    def run(self) -> "World":
        """Live it."""
        events = [(w, event) for w, event in self.people.events() if event.__name__ not in self.scenario.without]
        weights, happens = [weight for weight, _ in events], [event for _, event in events]
        for _ in range(self.scenario.events):
            self._go_on(0.3, 0.45, self.random.choices(happens, weights)[0])
            if self.violations:
                return self
        self._calm()
        return self

    def _go_on(self, operator: float, controllers: float, otherwise: Callable[[], None]) -> None:
        self.cluster.tick()
        turn = self.random.random()
        if turn < operator:
            # One at a time, mostly: another one may be held for long, and then go on with what it has seen.
            if self.random.random() < 0.02:
                self._active = self.random.randrange(len(self.operators))
            at = self._active
            if self.random.random() < self.scenario.kills:
                self.operators[at] = Operator(self.cluster, self.judge)
            self.operators[at].act()
        elif turn >= controllers or not self.cluster.controllers():
            otherwise()

    def _calm(self) -> None:
        """Nothing goes wrong any more, people mend what only they can, and all comes to rest."""
        cluster, asked, people = self.cluster, self.cluster.asked, self.people
        for name in cluster.nodes:
            if not cluster.nodes[name]:
                cluster.nodes[name] = True
                for pod in cluster.pods.values():
                    if pod.node == name and not pod.ending:
                        cluster.open(pod)
        asked.drain = 900
        if asked.autoscaler is not None:
            asked.scaled_by, asked.autoscaler = names.AUTOSCALER_FIELD_MANAGER, (1, people.most)
        if asked.version == "forgets" or self.random.random() < 0.5 or not self._restorable():
            asked.version = "v2"
        for _ in range(4):
            # Who was stranded, or takes long, comes back or has its time again when the size changes.
            self._rest(lambda: False, 300)
            people.clear()
            asked.replicas = people.most
            self._rest(lambda: not self._open(), CALM)
            asked.replicas = self.random.randint(1, 3)
            if self._rest(lambda: not self.judge.settled(), CALM):
                self.judge.homes()
                return
            if self.violations:
                return
        self.judge.object(f"does not come to rest: {self.judge.settled()}")

    def _open(self) -> bool:
        kept = self.cluster.config_map
        return bool(kept is None or not kept.record.settled or self.people.lost())

    def _restorable(self) -> bool:
        """Whether there is a version to go back to, which can read what others have written."""
        found = self.cluster.stateful_set
        return found is not None and found.marks.get(names.ANNOTATION_GOOD_TEMPLATE) in {"v1", "v2"}

    def _rest(self, over: Callable[[], bool], most: int) -> bool:
        people = self.people
        for _ in range(most):
            if self.violations or over():
                return not self.violations
            self._go_on(0.35, 0.6, self.random.choice([people.replica, people.give_up, people.client]))
        return False
