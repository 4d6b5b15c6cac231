"""Replicas, clients and an operator in virtual time, and what may go wrong between them, all from one seed."""

import asyncio
import os
import random
from collections import Counter
from collections.abc import Coroutine, Mapping
from dataclasses import dataclass, field
from typing import Any
from unittest import mock

from mooring_runtime.sessions.handoff import Point
from mooring_runtime.sessions.keys import Key
from mooring_runtime.sessions.record import Record
from tests.support import clock
from tests.support.simulation.clients import Client
from tests.support.simulation.judge import Judge
from tests.support.simulation.operator import Operator
from tests.support.simulation.replica import Replica

_STORM = 8.0
"""Virtual seconds in which everything may go wrong."""
_CALM = 120.0
"""Virtual seconds in which all must come to rest after that."""


@dataclass
class Faults:
    """How often something goes wrong."""

    lost: float = 0.08
    repeated: float = 0.15
    crash: float = 0.8
    """Crashes a second, over all replicas."""
    down: float = 0.5
    """Seconds until another process starts, at most."""
    crash_at: Mapping[Point, float] = field(default_factory=lambda: dict.fromkeys(Point, 0.08))


@dataclass(frozen=True)
class Scenario:
    """What happens."""

    sizes: tuple[int, ...] = (2, 3, 1, 3, 2, 1, 2)
    """Members that the user asks for, in this order."""
    sessions: int = 6
    steps: int = 30
    pause: float = 0.2
    """Seconds between two steps of a client, on average."""
    resize: float = 0.1
    """How probably the next size is asked for at each look of the operator."""
    impatient: float = 0.15
    """How often a numbered request is sent to two replicas at once."""
    run: float = 0.02
    """Seconds that a run of the model takes, at most."""


EVERYTHING = Scenario()
BIRTHS = Scenario(
    sizes=(1, 2, 3, 1, 3, 2, 3, 1, 2, 3), sessions=40, steps=2, pause=2.0, resize=0.6, impatient=0.8, run=0.2
)
"""Many sessions begin while the members change."""
RETURNS = Scenario(sizes=(1, 2, 3, 2, 3, 2, 3, 2, 3, 2), sessions=24, steps=4, pause=0.8, resize=0.3)
"""Sessions come back to where they were a moment ago, and end early, while replicas are down for long."""


LONG_DOWN = Faults(0.1, 0.3, 0.2, 4.0, {Point.SENT: 0.4, Point.KEPT: 0.2, Point.ANSWERED: 0.2})


class World:
    """One run. `violations` tells what was wrong; an empty list is a good run."""

    def __init__(self, seed: int, scenario: Scenario = EVERYTHING, faults: Faults | None = None) -> None:
        self.random = random.Random(seed)
        self.scenario = scenario
        self.faults = Faults() if faults is None else faults
        self.points: Counter[Point] = Counter()
        self.crashes: Counter[Point | None] = Counter()
        self.replicas: dict[int, Replica] = {}
        self.judge = Judge(self.replicas)
        self._spawned: dict[asyncio.Task[Any], None] = {}
        self.calm = False

    @property
    def violations(self) -> list[str]:
        """What was wrong."""
        return self.judge.violations

    def run(self) -> "World":
        """Live it."""
        # Ids are made of what the system gives; here that comes from the seed, too.
        with mock.patch.object(os, "urandom", self.random.randbytes):
            clock.run(self._live())
        return self

    async def _live(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.loop.set_exception_handler(self._unhandled)
        first = Record(1, self.scenario.sizes[0])
        for ordinal in range(max(self.scenario.sizes)):
            replica = self.replicas[ordinal] = Replica(self, ordinal)
            replica.disk.record = first if ordinal < first.size else None
            replica.start()
        self.operator = Operator(self, first)
        clients = [Client(self, Key("m", f"s{number}"), number) for number in range(self.scenario.sessions)]
        working = [self.spawn(each.run()) for each in clients]
        others = [self.spawn(self.operator.run()), self.spawn(self._crash_some())]
        await self._until(_STORM, lambda: False)
        self.calm = True
        self.faults = Faults(0.0, 0.0, 0.0, 0.1, {})
        over = lambda: all(task.done() for task in working) and self.operator.settled  # noqa: E731
        if not await self._until(_CALM, over):
            self.judge.object(f"does not come to rest: {[str(each) for each in clients]}, {self.operator}")
        elif not self.violations:
            await asyncio.sleep(5)
            self.judge.settled(self.operator.record)
        for task in [*others, *self._spawned]:
            task.cancel()
        for replica in self.replicas.values():
            replica.crash()
        await asyncio.sleep(0)

    async def _until(self, seconds: float, over: Any) -> bool:
        """Wait until it is over, or something was wrong; whether that came in time."""
        end = self.loop.time() + seconds
        while self.loop.time() < end:
            if self.violations or over():
                return True
            await asyncio.sleep(0.05)
        return False

    # --- what goes wrong

    def chance(self, probability: float) -> bool:
        """True so often."""
        return self.random.random() < probability

    async def delay(self, *, late: bool = False) -> None:
        """A way through the network."""
        await asyncio.sleep(self.random.random() * 3 if late else self.random.expovariate(60))

    async def _crash_some(self) -> None:
        while not self.calm:
            await asyncio.sleep(self.random.expovariate(max(self.faults.crash, 0.01)))
            if self.faults.crash:
                self.crashes[None] += 1
                self.crash(self.random.choice(list(self.replicas.values())))

    def crash(self, replica: Replica) -> None:
        """End a replica's process; another one starts some time later."""
        replica.crash()
        self.loop.call_later(self.random.random() * self.faults.down, replica.start)

    # --- the rest

    def spawn(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Something that goes on by itself."""
        task = self.loop.create_task(work)
        self._spawned[task] = None
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._spawned.pop(task, None)
        if not task.cancelled():
            task.exception()  # Whoever waits for it hears; nobody may wait any more.

    def _unhandled(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        error = context.get("exception")
        if not isinstance(error, asyncio.CancelledError):
            self.judge.object(f"unhandled: {context['message']}: {error!r}")
