"""What must hold of every session at every commit, whoever makes it: one owner, each step once, in order, none lost.

An end is known for a time only. A start that was under way all that time, say at a replica that searched for as long
while its client had its answer from another one, then begins a new life of the id, as SESSIONS.md has it. That alone
may come after an end; what has ended, and what was dropped too early, may never come back.
"""

from collections import Counter, defaultdict
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
        self.forgotten: dict[Key, int] = {}
        """The epoch under which the last that was known of their end was dropped, as it may be."""
        self.again: dict[Key, None] = {}
        """A late start has begun a new life of these."""
        self._starts: Counter[Key] = Counter()
        self._lives: dict[Key, dict[int, None]] = defaultdict(dict)

    def object(self, text: str) -> None:
        """Something is wrong."""
        self.violations.append(text)

    def started(self, key: Key) -> None:
        """A client sends a start, which may come late."""
        self._starts[key] += 1

    def written(self, ordinal: int, change: Change, before: Kept | None) -> None:
        """A commit has come on the disk of a replica, where `before` was known of the session."""
        key = change.key
        held = [each for each, kept in self._copies(key).items() if kept.copy.phase is Phase.HELD]
        if len(held) > 1:
            self.object(f"{key.session}: two owners: {held}")
        copy = change.copy
        if copy is None and before is not None and before.copy.end is not None:
            self._forgotten(ordinal, key)
        if copy is None or copy.phase is not Phase.HELD:
            return
        kept = self._copies(key)[ordinal]
        if self._begins_again(ordinal, key, kept):
            del self.ended[key], self.forgotten[key]
            self.again[key], self.applied[key] = None, []
        self._lives[key][copy.incarnation] = None
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

    def _forgotten(self, ordinal: int, key: Key) -> None:
        """What was known of the end of a session is dropped: nobody knows it any more, unless that was too early."""
        record = self._replicas[ordinal].disk.record
        left = [each for each, kept in self._copies(key).items() if kept.copy.phase is not Phase.MOVED]
        if record is not None and record.settled and not left:
            self.forgotten[key] = record.epoch

    def _begins_again(self, ordinal: int, key: Key, kept: Kept) -> bool:
        """Whether this is the first step of a life that nobody has seen, made here and now by one of the starts."""
        copy, record = kept.copy, self._replicas[ordinal].disk.record
        return (
            key in self.forgotten
            and (copy.step, copy.end, log_of(kept)) == (1, None, self.applied[key][:1])
            and copy.incarnation not in self._lives[key]
            and len(self._lives[key]) < self._starts[key]
            and record is not None
            and copy.since == record.epoch >= self.forgotten[key]
        )

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
