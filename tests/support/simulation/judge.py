"""What must hold of every session at every commit, whoever makes it: one owner, each step once, in order, none lost."""

from collections import defaultdict
from collections.abc import Mapping
from typing import Protocol

from mooring_runtime.sessions.copies import Kept, Phase
from mooring_runtime.sessions.keys import Key
from mooring_runtime.sessions.placement import place
from mooring_runtime.sessions.record import Record
from mooring_runtime.sessions.store import Change
from tests.support.memory_store import Disk


class HasDisk(Protocol):
    disk: Disk


class Judge:
    """Looks at every commit; `violations` is what it has found."""

    def __init__(self, replicas: Mapping[int, HasDisk]) -> None:
        self._replicas = replicas
        self.violations: list[str] = []
        self.applied: dict[Key, list[int]] = defaultdict(list)
        """The inputs that were ever applied; no replica sees this."""
        self.ended: dict[Key, None] = {}

    def object(self, text: str) -> None:
        """Something is wrong."""
        self.violations.append(text)

    def written(self, ordinal: int, change: Change) -> None:
        """A commit has come on the disk of a replica."""
        key = change.key
        held = [each for each, kept in self._copies(key).items() if kept.copy.phase is Phase.HELD]
        if len(held) > 1:
            self.object(f"{key.session}: two owners: {held}")
        copy = change.copy
        if copy is None or copy.phase is not Phase.HELD:
            return
        kept = self._copies(key)[ordinal]
        log, known = log_of(kept), self.applied[key]
        if copy.end is not None and key in self.ended and not kept.state:
            return  # What has ended loses its state.
        if log[:-1] == known and len(log) > len(known):
            self.applied[key] = log
        elif log != known:
            self.object(f"{key.session}: {known} were applied, and ordinal {ordinal} goes on from {log}")
        if len(log) != len(set(log)):
            self.object(f"{key.session}: applied twice: {log}")
        if copy.step != len(log):
            self.object(f"{key.session}: the copy says step {copy.step}, the state has {log}")
        if copy.end is not None:
            self.ended[key] = None
        elif key in self.ended:
            self.object(f"{key.session}: has ended, and is back at ordinal {ordinal}")

    def acknowledged(self, key: Key, log: list[int], expected: list[int] | None = None) -> None:
        """A client was told of a step; `expected`: what the state must be made of."""
        if expected is not None and log != expected:
            self.object(f"{key.session}: the client has sent {expected}, and hears {log}")
        if self.applied[key][: len(log)] != log:
            self.object(f"{key.session}: the client hears {log}, and {self.applied[key]} is on disk")

    def settled(self, record: Record) -> None:
        """All is over: each session is at its place, and nowhere else."""
        for key, applied in self.applied.items():
            copies = {each: kept.copy.phase.name for each, kept in self._copies(key).items()}
            home = {place(key, record.size): "HELD"}
            if copies != home and not (key in self.ended and not copies):
                self.object(f"{key.session}: copies {copies}, should be {home}")
            for kept in self._copies(key).values():
                if kept.copy.live and log_of(kept) != applied:
                    self.object(f"{key.session}: {applied} were applied, {log_of(kept)} is there")

    def _copies(self, key: Key) -> dict[int, Kept]:
        return {each: replica.disk.kept[key] for each, replica in self._replicas.items() if key in replica.disk.kept}


def log_of(kept: Kept) -> list[int]:
    """The inputs that a state is made of."""
    return [int(value) for value in kept.state[0].array.tolist()] if kept.state else []
