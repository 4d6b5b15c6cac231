"""The operator's part of the protocol, without a cluster: it keeps the record, sends it, and settles it.

Rules 3 to 5 of the protocol: a resize is written at once, whatever goes on; a replica that is behind is sent the
record; the past is dropped when every ordinal that may hold something is clean under this very record.
"""

import asyncio
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from mooring_runtime.sessions.record import Record
from tests.faults.fleet import request

ROUND_SECONDS = 0.1


@dataclass
class Operator:
    """One operator; `record` is what the cluster keeps for it."""

    peer_ports: Sequence[int]
    token: str
    record: Record
    wanted: int = 0
    """Members that somebody wants."""
    stores: dict[int, str] = field(default_factory=dict)
    """Ids of the stores that have been seen."""
    seen: list[str] = field(default_factory=list)
    """The records that it has written."""
    emptied: set[int] = field(default_factory=set)
    """Ordinals whose volumes somebody has taken away."""
    strange: dict[int, str] = field(default_factory=dict)
    """The stores that they have instead."""

    def __post_init__(self) -> None:
        self.wanted = self.record.size

    async def run(self) -> None:
        """Go round until cancelled."""
        while True:
            await self.round()
            await asyncio.sleep(ROUND_SECONDS)

    async def name(self) -> None:
        """Write down which stores the members have; all of them answer."""
        reports = [await self._send(ordinal) for ordinal in range(len(self.peer_ports))]
        self.stores = {ordinal: report["store"] for ordinal, report in enumerate(reports) if report is not None}
        assert len(self.stores) == len(reports), f"not all replicas report: {reports}"
        self.record = Record(self.record.epoch + 1, self.record.size, (), self.stores.copy())

    async def round(self) -> None:
        """Look, decide, write, send."""
        reports = await asyncio.gather(*(self._send(ordinal) for ordinal in range(len(self.peer_ports))))
        for ordinal, report in enumerate(reports):
            if report is not None and self.stores.setdefault(ordinal, report["store"]) != report["store"]:
                assert ordinal in self.emptied, f"the volume of ordinal {ordinal} was replaced"
                self.strange[ordinal] = report["store"]
        following = self.following(reports)
        if following is not None:
            self.record = following
            self.seen.append(following.to_json().decode())

    def following(self, reports: Sequence[dict[str, Any] | None]) -> Record | None:
        """The record to write next, by what the replicas report; None: the present one stays."""
        now = self.record
        if self.wanted != now.size and all(ordinal in self.stores for ordinal in range(self.wanted)):
            past = tuple(sorted({*now.past, now.size}))
            return Record(now.epoch + 1, self.wanted, past, self._named(len(self.peer_ports)), now.lost)
        if now.past and all(self._clean(report) for report in reports[: max(*now.past, now.size)]):
            return Record(now.epoch + 1, now.size, (), self._named(now.size), now.lost)
        return None

    async def abandon(self, ordinal: int, seconds: float) -> bool:
        """Do what a person asks for whose volume is gone, when its replica has shown the new one; whether the old one
        may have had sessions. Returns when the replica goes by it, or fails after so many seconds.
        """
        until = asyncio.get_running_loop().time() + seconds
        while ordinal not in self.strange:
            await self._wait(until, f"ordinal {ordinal} has not shown the volume in place of the one that was lost")
        old, self.stores[ordinal] = self.stores[ordinal], self.strange.pop(ordinal)
        self.emptied.discard(ordinal)
        if old not in self.record.stores.values():
            return False
        now, stores = self.record, {**self.record.stores, ordinal: self.stores[ordinal]}
        given = self.record = Record(now.epoch + 1, now.size, now.past, stores, (*now.lost, old))
        self.seen.append(given.to_json().decode())
        while (report := await self._send(ordinal)) is None or report["record"]["epoch"] < given.epoch:
            await self._wait(until, f"ordinal {ordinal} does not go by {given}")
        return True

    @staticmethod
    async def _wait(until: float, what: str) -> None:
        assert asyncio.get_running_loop().time() < until, what
        await asyncio.sleep(ROUND_SECONDS)

    def _named(self, size: int) -> dict[int, str]:
        return {ordinal: store for ordinal, store in self.stores.items() if ordinal < size}

    def _clean(self, report: dict[str, Any] | None) -> bool:
        return (
            report is not None
            and report["clean"]
            and report["record"] is not None
            and report["record"]["epoch"] == self.record.epoch
        )

    async def _send(self, ordinal: int) -> dict[str, Any] | None:
        status, body = await request(
            self.peer_ports[ordinal],
            "PUT",
            "/membership",
            body=self.record.to_json(),
            headers=(f"Authorization: Bearer {self.token}",),
            seconds=2.0,
        )
        if status is None:
            return None
        assert status == 200, f"replica {ordinal} answers a record with {status}: {body!r}"
        report: dict[str, Any] = json.loads(body)
        return report

    @property
    def settled(self) -> bool:
        """Everything is where it should be."""
        return self.record.settled and self.record.size == self.wanted

    async def until_settled(self, seconds: float) -> str:
        """Wait for it; why not, where it takes longer."""
        end = asyncio.get_running_loop().time() + seconds
        while not self.settled:
            if asyncio.get_running_loop().time() > end:
                reports = [await self._send(ordinal) for ordinal in range(len(self.peer_ports))]
                return f"the membership is not settled after {seconds:.0f} s: {self.record}; {reports}"
            await asyncio.sleep(ROUND_SECONDS)
        return ""
