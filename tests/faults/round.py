"""One round: servers, clients and a nemesis for some seconds, then the verdict. All choices come from the seed."""

import asyncio
import contextlib
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from tests.faults import fleet, history, ledger, nemesis, volumes
from tests.faults.checker import Verdict, check
from tests.faults.clients import Client, World
from tests.faults.doors import Door, Grpc, Http
from tests.faults.fleet import Replica
from tests.faults.history import Book, Step

READ_SECONDS = 30.0
"""How long clients may take to read their sessions when all is mended."""
SHARED = ("777", "shared by two")


@dataclass(frozen=True)
class Plan:
    """A round: the same plan makes the same choices, though not the same accidents."""

    seed: int
    seconds: float = 25.0
    """Of faults; starting, mending and reading take some more."""
    replicas: int = 1
    clients: int = 24


@dataclass
class Result:
    """What came of a round."""

    verdict: Verdict
    log: list[str]
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
    ports = fleet.free_ports(2 * plan.replicas)
    small = Random(f"{plan.seed} volumes").random() < 0.75
    replicas: list[Replica] = []
    try:
        for ordinal in range(plan.replicas):
            volume = volumes.make(folder / f"volume-{ordinal}", small=small)
            http, grpc = ports[2 * ordinal : 2 * ordinal + 2]
            variables = fleet.variables(repository, volume.path, http, grpc, stand_alone="true")
            replicas.append(Replica(ordinal, volume, folder / f"replica-{ordinal}.log", variables, http, grpc))
        yield replicas
    finally:
        for replica in replicas:
            replica.kill()
            replica.volume.remove()


async def _play(plan: Plan, folder: Path, replicas: list[Replica]) -> Result:
    for replica in replicas:
        replica.start()
    for replica in replicas:
        await replica.ready()
    book = Book()
    stopped = False
    world = World(book, lambda random: [_door(random, replica) for replica in replicas], lambda: stopped)
    clients = [Client(world, index, Random(f"{plan.seed} client {index}")) for index in range(plan.clients)]
    for session in SHARED:
        await clients[0].ask(Step(session, book.word(), start=True))
    kinds = [*nemesis.ALWAYS, *(["full"] if all(replica.volume.can_fill for replica in replicas) else [])]
    faults = nemesis.schedule(Random(f"{plan.seed} nemesis"), plan.seconds, kinds, plan.replicas)
    evil = nemesis.Nemesis(replicas, folder / "models", world)
    began = time.monotonic()
    try:
        async with asyncio.TaskGroup() as group:
            for client in clients:
                group.create_task(_way(client))
            await evil.run(faults)
            await asyncio.sleep(max(0.0, began + plan.seconds - time.monotonic()))
            stopped = True
        steps = sum(op.answer.outcome == "ok" for op in book.ops) / (time.monotonic() - began)
        # What is only in memory is no longer there when the sessions are read.
        await asyncio.gather(*(evil.kill(replica, 0) for replica in replicas))
        world.faultless = True
        with contextlib.suppress(TimeoutError):  # The checker tells which sessions were not read.
            async with asyncio.timeout(READ_SECONDS):
                await asyncio.gather(*(client.read() for client in clients))
    finally:
        for client in clients:
            for door in client.doors:
                await door.close()
        history.write(book.ops, folder / "history.jsonl")
        (folder / "nemesis.log").write_text("".join(f"{line}\n" for line in evil.log))
    return Result(check(book.ops), evil.log, dict(evil.done), folder, steps=steps)


def _door(random: Random, replica: Replica) -> Door:
    match random.randrange(4):
        case 0:
            return Grpc(replica.grpc)
        case 1:
            return Http(replica.http, binary=True)
        case 2:
            return Http(replica.http, headers=True)
        case _:
            return Http(replica.http)


async def _way(client: Client) -> None:
    """What this client does, by its place among the others."""
    match client.index % 12:
        case 0 | 1:
            session = SHARED[client.index % 2]
            client.sessions[session] = Step(session, 0)
            await client.shared(session)
        case 2 | 3 | 4:
            await client.numbered()
        case 5:
            await client.pipelined()
        case 6 | 7:
            await client.minted()
        case 8 | 9:
            await client.hoard()
        case _:
            await client.plain()


def clean(folder: Path) -> Path:
    """An empty folder in place of what an earlier run left."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder
