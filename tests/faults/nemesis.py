"""What goes wrong in a run, and when: a pure function of its seed; and who does it."""

import asyncio
import contextlib
import shutil
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import NamedTuple

from tests.faults import ledger
from tests.faults.clients import World
from tests.faults.fleet import Replica
from tests.faults.history import Loss
from tests.faults.links import REFUSED, SILENT, Links
from tests.faults.membership import Operator

ALWAYS = ("kill", "kill", "pause", "stop", "swap", "swap", "back")
"""Kinds of faults for every run, some more often than others."""
INTERVAL = ("kill", "kill", "kill", "kill", "pause", "stop", "swap", "back")
"""In place of them, where it is kills that cost something."""
MEMBERS = ("resize", "resize", "resize", "cut", "cut")
"""Those of several replicas."""
START_SECONDS = 1.5
"""That a server takes to start; where it takes longer, all that follows comes later, or it would hardly ever serve."""
MOST_LATE = 20.0
"""Seconds of a round, at most, that are added so."""
AHEAD_SECONDS = 2.0
"""How long a kill waits for a step that it would cost; while another fault lasts there may be none."""
ABANDON_SECONDS = 20.0
"""How long a replica may take to go by the record that gives up the volume which it had."""
GAP = (0.3, 1.7)
"""Seconds from the begin of one fault to that of the next; so some happen at the same time."""
FULL_SECONDS = 3.0
"""A volume is full for so much longer than other faults last: what is allocated ahead must be used up first."""
FULL_LATER = 1.5
"""A server does not ask the disk anew each time, so commits may fail for a second more."""


class Fault(NamedTuple):
    """One fault: begins `at` so many seconds into the run and lasts `seconds`."""

    at: float
    kind: str
    ordinal: int
    seconds: float
    choice: int
    """What else is to be chosen is chosen by this."""

    def __str__(self) -> str:
        return f"{self.at:6.2f} s {self.kind} of replica {self.ordinal} for {self.seconds:.2f} s, {self.choice}"


def schedule(random: Random, seconds: float, kinds: Sequence[str], replicas: int) -> list[Fault]:
    """The faults of a run: each kind comes up before one comes again, so that short runs have them all."""
    faults: list[Fault] = []
    at, bag = 0.5, list[str]()
    while at < seconds:
        if not bag:
            bag = list(kinds)
            random.shuffle(bag)
        lasting = random.choice((0.05, 0.3, 1.0, 1.5))
        faults.append(Fault(round(at, 2), bag.pop(), random.randrange(replicas), lasting, random.randrange(60)))
        at += random.uniform(*GAP)
    return faults


@dataclass
class Nemesis:
    """Does what a schedule says. Each fault is mended at its end."""

    replicas: Sequence[Replica]
    repository: Path
    world: World
    operator: Operator | None = None
    links: Links | None = None
    """Between several replicas."""
    log: list[str] = field(default_factory=list)
    """What happened, with the ticks of the world's book."""
    done: Counter[str] = field(default_factory=Counter)
    losses: list[Loss] = field(default_factory=list)
    """What may have cost steps whose replies went before their commits."""
    _began: float = 0.0
    late: float = 0.0
    """Seconds that everything comes later, for servers have been slow to start."""
    lazy: bool = False
    """Replies go before their commits, and kills come when one has."""

    async def run(self, faults: Sequence[Fault]) -> None:
        """Everything in its time; returns when all is mended."""
        async with asyncio.TaskGroup() as group:
            self._began = asyncio.get_running_loop().time()
            for fault in faults:
                await self.reach(fault.at)
                group.create_task(self._do(fault))

    async def reach(self, seconds: float) -> None:
        """Wait until so much of the run is over."""
        loop, left = asyncio.get_running_loop(), 0.01
        while left > 0:
            left = self._began + seconds + min(self.late, MOST_LATE) - loop.time()
            await asyncio.sleep(min(max(left, 0.0), 0.1))

    async def _do(self, fault: Fault) -> None:
        replica = self.replicas[fault.ordinal]
        self.log.append(f"tick {self.world.book.tick()}: {fault}")
        match fault.kind:
            case "kill":
                if self.lazy:
                    await self._answered_ahead()
                await self.kill(replica, fault.seconds)
            case "stop":
                await self._stop(replica, fault.seconds)
            case "pause":
                await self._pause(replica, fault.seconds)
            case "full":
                await self._full(replica, fault.seconds)
            case "resize":
                assert self.operator is not None
                self.operator.wanted = 1 + fault.choice % len(self.replicas)
            case "cut":
                await self._cut(fault)
            case "swap" | "back":
                await self._swap(back=fault.kind == "back")
            case "slow":
                await self._slow(replica, fault)
            case "lose":
                await self._lose(replica, fault.seconds)
            case _:
                raise AssertionError(fault.kind)
        self.done[fault.kind] += 1
        self.log.append(f"tick {self.world.book.tick()}: mended {fault}")

    async def _answered_ahead(self) -> None:
        """Wait for a step that was answered and is not on disk, so that a kill costs something on any machine."""
        loop, ops = asyncio.get_running_loop(), self.world.book.ops
        until, looked = loop.time() + AHEAD_SECONDS, len(ops)
        while loop.time() < until:
            seen = [op.answer.seen for op in ops[looked:] if op.answer.seen is not None]
            if any(each.durable is not None and each.durable < each.step for each in seen):
                return
            looked = len(ops)
            await asyncio.sleep(0.001)

    async def kill(self, replica: Replica, seconds: float) -> None:
        """Kill -9, and back after a while."""
        async with replica.lock:
            begun, at = self.world.book.tick(), self.world.book.clock()
            replica.kill()
            self.losses.append(Loss("kill", replica.ordinal, begun, await self._back(replica, seconds), at))

    async def _stop(self, replica: Replica, seconds: float) -> None:
        """The end in order, as a rollout has it."""
        async with replica.lock:
            replica.stop()
            await asyncio.to_thread(replica.wait, 20.0)
            await self._back(replica, seconds)

    async def _back(self, replica: Replica, seconds: float) -> int:
        """The tick at which it was started."""
        if self.links is not None:
            await self.links.alive(replica.ordinal, alive=False)
        await asyncio.sleep(seconds)
        started, at = self.world.book.tick(), asyncio.get_running_loop().time()
        replica.start()
        await replica.ready()
        self.late += max(0.0, asyncio.get_running_loop().time() - at - START_SECONDS)
        if self.links is not None:  # Before it listens nobody may be let in on its behalf.
            await self.links.alive(replica.ordinal, alive=True)
        return started

    @staticmethod
    async def _pause(replica: Replica, seconds: float) -> None:
        async with replica.lock:
            replica.pause()
            await asyncio.sleep(seconds)
            replica.resume()

    async def _full(self, replica: Replica, seconds: float) -> None:
        """No lock: the process may die or be killed meanwhile, and come back on the full volume."""
        begun, at = self.world.book.tick(), self.world.book.clock()
        await asyncio.to_thread(replica.volume.fill)
        self.world.crowded += 1
        await asyncio.sleep(FULL_SECONDS + seconds)
        self.world.crowded -= 1
        replica.volume.empty()
        await asyncio.sleep(FULL_LATER)
        self.losses.append(Loss("full", replica.ordinal, begun, self.world.book.tick(), at))

    @staticmethod
    async def _slow(replica: Replica, fault: Fault) -> None:
        """Each sync takes 50 to 500 ms."""
        assert replica.slow is not None
        replica.slow.write_text(str(50 + 450 * fault.choice // 59))
        await asyncio.sleep(1.0 + fault.seconds)
        replica.slow.unlink(missing_ok=True)

    async def _lose(self, replica: Replica, seconds: float) -> None:
        """Its volume is gone, it comes back with a new one, and after a while a person gives up the old one."""
        operator = self.operator
        assert operator is not None
        async with replica.lock:
            begun, at = self.world.book.tick(), self.world.book.clock()
            replica.kill()
            replica.volume.lose()
            operator.emptied.add(replica.ordinal)
            await self._back(replica, 0.1)
            await asyncio.sleep(seconds)
            if await operator.abandon(replica.ordinal, ABANDON_SECONDS):
                self.losses.append(Loss("lose", replica.ordinal, begun, self.world.book.tick(), at))

    async def _cut(self, fault: Fault) -> None:
        assert self.links is not None
        how = REFUSED if fault.choice % 2 else SILENT
        await self.links.cut(how, fault.ordinal, both=fault.choice % 3 == 0)
        await asyncio.sleep(fault.seconds)
        await self.links.mend(how)  # Of another cut too, if there is one: it has been long enough.

    async def _swap(self, *, back: bool) -> None:
        """The next version of the model, or back to the one before."""
        folder = self.repository / ledger.NAME
        async with contextlib.AsyncExitStack() as stack:
            for replica in self.replicas:  # Else one that starts just now might read half of the change.
                await stack.enter_async_context(replica.lock)
            served = max(int(each.name) for each in folder.iterdir() if each.name.isdigit())
            if not back:
                ledger.write(self.repository, served + 1)
            elif served > 1:
                shutil.rmtree(folder / str(served))
            for replica in self.replicas:
                await replica.ask("POST", f"/v2/repository/models/{ledger.NAME}/load")
