"""One round: servers, clients and a nemesis for some seconds, then the verdict. All choices come from the seed."""

import asyncio
import contextlib
import shutil
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from mooring_runtime.sessions.record import Record
from tests.faults import fleet, history, ledger, links, nemesis, volumes
from tests.faults.checker import Verdict, check
from tests.faults.clients import SHARED, Client, World, way
from tests.faults.doors import any_door
from tests.faults.fleet import Replica
from tests.faults.history import Book, Losses, Step
from tests.faults.links import Links
from tests.faults.membership import Operator
from tests.support import failing_disk
from tests.support.ports import free_ports

READ_SECONDS = 30.0
"""How long clients may take to read their sessions when all is mended."""
SETTLE_SECONDS = 20.0
"""How long replicas may take to hand over what is to move, when all is mended."""
TOKEN = "only-for-these-tests"
INTERVAL = "600ms"
"""Much longer than a step takes, so that nearly every kill costs some."""


@dataclass(frozen=True)
class Plan:
    """A round: the same plan makes the same choices, though not the same accidents."""

    seed: int
    seconds: float = 25.0
    """Of faults; starting, mending and reading take some more."""
    replicas: int = 1
    clients: int = 24
    durability: str = "step"
    """Or `interval`: replies go before their commits, and what a kill costs must be told."""
    lose: bool = False
    """Volumes of members are lost, too."""

    @property
    def again(self) -> str:
        """How it is played again."""
        return (
            f'make soak ARGS="--seed {self.seed} --rounds 1 --round-seconds {self.seconds:g} '
            f'--replicas {self.replicas} --durability {self.durability} --{"" if self.lose else "no-"}lose"'
        )


@dataclass
class Result:
    """What came of a round."""

    verdict: Verdict
    faults: dict[str, int]
    folder: Path
    problems: list[str] = field(default_factory=list)
    """What the servers' logs tell that nobody expected."""
    steps: float = 0.0
    """Acknowledged steps a second."""

    @property
    def failed(self) -> bool:
        """Whether something was found."""
        return bool(self.verdict.violations or self.problems)

    def __str__(self) -> str:
        faults = ", ".join(f"{kind} {number}" for kind, number in sorted(self.faults.items()))
        return "\n".join([f"{self.steps:.0f} steps/s; faults: {faults}", str(self.verdict), *self.problems[:20]])


def run(plan: Plan, folder: Path) -> Result:
    """Play one round in an empty folder; it keeps the history, what the nemesis did and the servers' logs."""
    with _replicas(plan, folder) as replicas:
        result = asyncio.run(_play(plan, folder, replicas))
        for replica in replicas:
            result.problems += [f"log of replica {replica.ordinal}: {line}" for line in replica.tracebacks()]
    return result


@contextlib.contextmanager
def _replicas(plan: Plan, folder: Path) -> Iterator[list[Replica]]:
    repository = folder / "models"
    ledger.write(repository, 1)
    ports = free_ports(3 * plan.replicas + 1)
    link_port = ports.pop()
    (folder / "token").write_text(TOKEN)
    small = Random(f"{plan.seed} volumes").random() < 0.75
    disk = failing_disk.library(folder)
    replicas: list[Replica] = []
    try:
        for ordinal in range(plan.replicas):
            volume = volumes.make(folder / f"volume-{ordinal}", small=small)
            http, grpc, peer = ports[3 * ordinal : 3 * ordinal + 3]
            more = {"session_durability": plan.durability, "session_interval": INTERVAL}
            if plan.replicas == 1:
                more["stand_alone"] = "true"
            else:
                more |= {
                    "ordinal": str(ordinal),
                    "peer_address": f"http://{links.host(ordinal, '{ordinal}')}:{link_port}",
                    "peer_port": str(peer),
                    "peer_token_file": str(folder / "token"),
                }
            variables = fleet.variables(repository, volume.path, http, grpc, **more)
            log, slow = folder / f"replica-{ordinal}.log", None
            if disk is not None:
                slow = folder / f"slow-{ordinal}"
                variables |= {"LD_PRELOAD": str(disk), "SLOW_SYNC": str(slow)}
            replicas.append(Replica(ordinal, volume, log, variables, http, grpc, peer, link_port, slow))
        yield replicas
    finally:
        for replica in replicas:
            replica.kill()
            replica.volume.remove()


@contextlib.asynccontextmanager
async def _members(replicas: list[Replica]) -> AsyncIterator[tuple[Operator, Links] | None]:
    """The operator, and the ways between the replicas; None where there is one that stands alone."""
    if len(replicas) == 1:
        yield None
        return
    ways = await Links.of(replicas[0].links, [replica.peer for replica in replicas])
    operator = Operator([replica.peer for replica in replicas], TOKEN, Record(1, len(replicas)))
    for replica in replicas:
        await replica.ready()
    await operator.name()
    going = asyncio.create_task(operator.run())
    try:
        yield operator, ways
    finally:
        going.cancel()
        await asyncio.wait([going])
        await ways.close()
    if not going.cancelled():
        going.result()  # It has ended before: by what it found.


async def _play(plan: Plan, folder: Path, replicas: list[Replica]) -> Result:
    for replica in replicas:
        replica.start()
    book = Book()
    stopped = False
    world = World(
        book, lambda random: [any_door(random, replica.http, replica.grpc) for replica in replicas], lambda: stopped
    )
    clients = [Client(world, index, Random(f"{plan.seed} client {index}")) for index in range(plan.clients)]
    if plan.durability == "interval":
        world.lasting = 10
    evil = nemesis.Nemesis(replicas, folder / "models", world, lazy=plan.durability == "interval")
    always = nemesis.INTERVAL if plan.durability == "interval" else nemesis.ALWAYS
    kinds = [*always, *(nemesis.MEMBERS if plan.replicas > 1 else ())]
    kinds += ["full"] if all(replica.volume.can_fill for replica in replicas) else []
    kinds += ["slow"] if all(replica.slow is not None for replica in replicas) else []
    kinds += ["lose"] if plan.lose else []
    faults = nemesis.schedule(Random(f"{plan.seed} nemesis"), plan.seconds, kinds, plan.replicas)
    problems: list[str] = []
    losses: Losses | None = None
    try:
        async with _members(replicas) as members:
            if members is not None:
                evil.operator, evil.links = members
            for replica in replicas:
                await replica.ready()
            for session in SHARED:
                await clients[0].insist(Step(session, book.word(), start=True))
            began = time.monotonic()
            async with asyncio.TaskGroup() as group:
                for client in clients:
                    group.create_task(way(client, client.index % 12))
                await evil.run(faults)
                await evil.reach(plan.seconds)
                stopped = True
            steps = sum(op.answer.outcome == "ok" for op in book.ops) / (time.monotonic() - began)
            # What is only in memory is no longer there when the sessions are read.
            await asyncio.gather(*(evil.kill(replica, 0) for replica in replicas))
            if members is not None:
                problems += filter(None, [await members[0].until_settled(SETTLE_SECONDS)])
            world.faultless = True
            with contextlib.suppress(TimeoutError):  # The checker tells which sessions were not read.
                async with asyncio.timeout(READ_SECONDS):
                    await asyncio.gather(*(client.read() for client in clients))
    finally:
        for client in clients:
            for door in client.doors:
                await door.close()
        lazy = plan.durability == "interval"
        events = tuple(each for each in evil.losses if lazy or each.kind == "lose")
        if lazy or events:
            losses = Losses(events, plan.replicas, lazy)
        history.write(book.ops, folder / "history.jsonl", losses)
        log = [*evil.log, *(evil.operator.seen if evil.operator is not None else [])]
        (folder / "nemesis.log").write_text("".join(f"{line}\n" for line in log))
    return Result(check(book.ops, losses), dict(evil.done), folder, problems, steps)


def clean(folder: Path) -> Path:
    """An empty folder in place of what an earlier run left."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder
