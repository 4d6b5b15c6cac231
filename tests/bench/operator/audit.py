"""What the API server itself wrote down: who asked for what, when it came, when it was answered."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

WRITES = frozenset({"create", "update", "patch", "delete", "deletecollection"})


@dataclass(frozen=True)
class Write:
    """One write that the API server has answered."""

    user: str
    verb: str
    resource: str
    """With its subresource, such as `inferenceservices/status`."""
    namespace: str
    name: str
    code: int
    received: datetime
    answered: datetime


class Tail:
    """Reads the audit log from where it is now; what was read once is not read again."""

    def __init__(self, log: Path) -> None:
        self._log = log
        self._at = log.stat().st_size

    def writes(self) -> list[Write]:
        """Return the writes that were answered since the last call, without those of leases."""
        with self._log.open("rb") as log:
            log.seek(self._at)
            raw = log.read()
        whole = raw[: raw.rfind(b"\n") + 1]  # the last line may be half-written
        self._at += len(whole)
        return list(writes_of(whole.splitlines()))


def writes_of(lines: Iterable[bytes]) -> Iterable[Write]:
    """Yield the writes in lines of an audit log, without those of leases: they go on for ever."""
    for line in lines:
        entry = json.loads(line)
        reference: dict[str, Any] = entry.get("objectRef") or {}
        if entry["verb"] not in WRITES or reference.get("resource") == "leases" or "responseStatus" not in entry:
            continue
        subresource = reference.get("subresource")
        yield Write(
            user=entry["user"]["username"],
            verb=entry["verb"],
            resource=reference.get("resource", "") + (f"/{subresource}" if subresource else ""),
            namespace=reference.get("namespace", ""),
            name=reference.get("name", ""),
            code=entry["responseStatus"]["code"],
            received=datetime.fromisoformat(entry["requestReceivedTimestamp"]),
            answered=datetime.fromisoformat(entry["stageTimestamp"]),
        )
