"""The operator as far as membership goes: SESSIONS.md, rules 3 to 5 of section 3."""

import asyncio
from typing import TYPE_CHECKING

from mooring_runtime.sessions.membership import Report
from mooring_runtime.sessions.messages import Envelope, Introduce
from mooring_runtime.sessions.peers import PeerFailed
from mooring_runtime.sessions.record import Record
from tests.support.simulation.network import SimulatedPeers

if TYPE_CHECKING:
    from tests.support.simulation.world import World


class Operator:
    """Asks for the sizes of the scenario one after the other, sends records, and settles."""

    members_only = False
    """Broken: settles when the members are clean, without the leaving ordinals."""
    sends_unstored = False
    """Broken: sends a record before it is stored, so that its epoch may get a second body."""

    def __init__(self, world: "World", record: Record) -> None:
        self._world = world
        self.record = record
        self._wish = 0
        self._clean: dict[int, None] = {}
        self._peers = SimulatedPeers(world, None)

    def __str__(self) -> str:
        return f"{self.record}, clean: {list(self._clean)}"

    @property
    def settled(self) -> bool:
        """All that was asked for is done."""
        sizes = self._world.scenario.sizes
        return self._wish == len(sizes) - 1 and self.record.settled and self.record.size == sizes[-1]

    async def run(self) -> None:
        """Live for ever."""
        world, sizes = self._world, self._world.scenario.sizes
        while True:
            if self._wish < len(sizes) - 1 and (world.calm or world.chance(world.scenario.resize)):
                self._wish += 1
            size, record = sizes[self._wish], self.record
            most = max(size, *record.past, 0)
            if size != record.size:
                past = tuple(sorted({*record.past, record.size}))
                await self._go_by(Record(record.epoch + 1, size, past))
            elif record.past and all(each in self._clean for each in range(size if self.members_only else most)):
                await self._go_by(Record(record.epoch + 1, size))
            told = [self._tell(ordinal, self.record) for ordinal in world.replicas]
            await asyncio.gather(*told)
            await asyncio.sleep(world.random.random() * 0.3)

    async def _go_by(self, record: Record) -> None:
        if self.sends_unstored and self._world.chance(0.7):
            await asyncio.gather(*[self._tell(ordinal, record) for ordinal in self._world.replicas])
            if self._world.chance(0.5):
                return  # It has crashed, knows nothing of that record, and makes another one in its place.
        self.record = record
        self._clean.clear()

    async def _tell(self, ordinal: int, record: Record) -> None:
        try:
            answer = await self._peers.send(ordinal, Envelope(record.epoch, None, ordinal), Introduce(record), 0.5)
        except PeerFailed:
            return
        report = answer.body
        if not isinstance(report, Report) or report.record is None or not report.clean:
            return
        if report.record.epoch == self.record.epoch:
            self._clean[ordinal] = None
