"""Visits every reachable world, breadth first, so that the first violation has the shortest run."""

import time
from array import array
from collections import deque
from typing import NamedTuple

from tests.faults.protocol_model.model import Model
from tests.faults.protocol_model.rules import check, goal, tidy
from tests.faults.protocol_model.world import SCENARIOS, Violation, World


class Outcome(NamedTuple):
    """What an exploration has found."""

    states: int
    edges: int
    seconds: float
    violation: str = ""
    run: tuple[str, ...] = ()
    """The labels that lead to the violation."""


class _Search:
    """The worlds that are known, and the ways between them."""

    def __init__(self, model: Model) -> None:
        first = model.initial()
        self.model = model
        self.number: dict[World, int] = {first: 0}
        self.queue: deque[World] = deque((first,))
        self.parent: list[tuple[int, str]] = [(-1, "")]
        self.sources, self.targets = array("I"), array("I")
        self.goals = bytearray([goal(model, first)])
        self.edges = 0

    def visit(self, here: int, world: World) -> int | None:
        """Look at all that may follow on one world; the number of one that breaks an invariant."""
        for label, fault, successor in self.model.successors(world):
            after = tidy(self.model, successor)
            self.edges += 1
            there = self.number.get(after)
            if there is None:
                there = self.number[after] = len(self.parent)
                self.queue.append(after)
                self.parent.append((here, label))
                self.goals.append(goal(self.model, after))
                self.found = there
                check(self.model, after)
            if not fault and there != here:
                self.sources.append(here)
                self.targets.append(there)
        return None

    def run_to(self, at: int) -> tuple[str, ...]:
        """The labels from the beginning."""
        run = []
        while at > 0:
            at, label = self.parent[at]
            run.append(label)
        return tuple(reversed(run))


def explore(name: str, mutation: str | None = None) -> Outcome:
    """Check a scenario, perhaps with something broken."""
    return explore_model(Model(SCENARIOS[name], mutation))


def explore_model(model: Model) -> Outcome:
    """Check the invariants in every reachable world; then that no run without faults gets stuck."""
    search, began = _Search(model), time.monotonic()
    violation, at, here = "", 0, 0
    while search.queue and not violation:
        search.found = here
        try:
            search.visit(here, search.queue.popleft())
        except Violation as error:
            violation, at = str(error), search.found
        here += 1
    if not violation:
        stuck = _first_stuck(len(search.parent), search.sources, search.targets, search.goals)
        if stuck is not None:
            at, violation = stuck
    run = search.run_to(at) if violation else ()
    return Outcome(len(search.parent), search.edges, time.monotonic() - began, violation, run)


def _first_stuck(count: int, sources: "array[int]", targets: "array[int]", goals: bytearray) -> tuple[int, str] | None:
    """Without faults: no world but a goal may be without a next one, and there is no circle; so every such run ends,
    and ends in a goal.
    """
    out, into = array("I", bytes(4 * count)), [array("I") for _ in range(count)]
    for a, b in zip(sources, targets, strict=True):
        out[a] += 1
        into[b].append(a)
    for world in range(count):
        if not out[world] and not goals[world]:
            return world, "stuck: nothing more happens without a fault, and the session does not answer"
    ready, seen = deque(world for world in range(count) if not out[world]), 0
    while ready:
        world = ready.popleft()
        seen += 1
        for before in into[world]:
            out[before] -= 1
            if not out[before]:
                ready.append(before)
    if seen < count:
        return next(world for world in range(count) if out[world]), "a run without faults may go in a circle"
    return None
