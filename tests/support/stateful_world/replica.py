"""Replicas as far as the operator's decisions can hurt them: stores with sessions on volumes that outlive their pods.

A handoff is one event here: how it goes step by step is checked by the model in `tests/faults/protocol_model`, and
with the real classes by the simulation in `tests/support/simulation`.
"""

import hashlib
from dataclasses import dataclass, field
from functools import cache

from mooring_operator.api.membership import Record, Report


@dataclass
class Version:
    """What a pod template does."""

    name: str
    crashes: bool = False
    refused: bool = False
    """No pod of it can be made: a quota, a policy."""
    forgets: bool = False
    """It cannot read the state that another version wrote."""

    @property
    def good(self) -> bool:
        """Whether it may serve everywhere."""
        return not (self.crashes or self.refused or self.forgets)


@dataclass
class Session:
    """What is on disk of one session."""

    step: int
    version: str


@dataclass
class Store:
    """What is on a volume."""

    id: str
    boot: int = 0
    record: Record | None = None
    sessions: dict[str, Session] = field(default_factory=dict)

    def adopt(self, record: Record) -> bool:
        """Go by a record, unless a newer one is known."""
        if self.record is not None and record.epoch <= self.record.epoch:
            return False
        self.record = record
        return True

    def misfit(self, ordinal: int) -> bool:
        """Whether nothing may be done with it."""
        record = self.record
        return record is None or self.id in record.lost or record.stores.get(ordinal, self.id) != self.id

    def foreign(self, ordinal: int) -> list[str]:
        """The sessions that belong elsewhere."""
        record = self.record
        return [] if record is None else [key for key in self.sessions if place(key, record.size) != ordinal]

    def unreadable(self, version: Version) -> int:
        """How many sessions a version cannot go on with."""
        return sum(version.forgets and session.version != version.name for session in self.sessions.values())

    def report(self, ordinal: int, version: Version) -> Report:
        """What it says to the operator."""
        foreign = len(self.foreign(ordinal))
        return Report(
            ordinal=ordinal,
            store=self.id,
            boot=self.boot,
            record=self.record,
            clean=not self.misfit(ordinal) and not foreign,
            held=len(self.sessions),
            foreign=foreign,
            unreadable=self.unreadable(version),
        )


@cache
def place(key: str, size: int) -> int:
    """Where a session should be: a minted one (`2.abc`) at its ordinal while that is a member, else by rendezvous."""
    home, _, minted = key.partition(".")
    if minted and int(home) < size:
        return int(home)

    def weight(ordinal: int) -> bytes:
        return hashlib.blake2b(f"{key}\0{ordinal}".encode(), digest_size=8).digest()

    return max(range(size), key=weight)
