"""What the operator and the replicas of a stateful service say to each other: the membership record, and the report.

The record says how many ordinals are members. It is kept in the ConfigMap `<service>-membership`, never changed once
it is written (a change is another one with a higher epoch), and sent to each replica, which answers with its report.
`tests/contract/` checks that the runtime reads and writes the same.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self


@dataclass(frozen=True)
class Record:
    """One membership."""

    epoch: int
    size: int
    """Members are the ordinals below this."""
    past: tuple[int, ...] = ()
    """Earlier sizes under which some replica may still hold a session; rising, without doubles. Empty: settled."""
    stores: Mapping[int, str] = field(default_factory=dict)
    """Ordinal to the id of the store that it must have."""
    lost: tuple[str, ...] = ()
    """Ids of stores that were given up."""

    @property
    def settled(self) -> bool:
        """Every session is where it should be."""
        return not self.past

    @property
    def reach(self) -> int:
        """Ordinals below this may hold a session."""
        return max(self.size, *self.past, self.size)

    def to_json(self) -> str:
        """Its text in the ConfigMap and in messages."""
        stores = {str(ordinal): store for ordinal, store in sorted(self.stores.items())}
        document = {"epoch": self.epoch, "size": self.size, "past": self.past, "stores": stores, "lost": self.lost}
        return json.dumps(document, separators=(",", ":"))

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the record in a text. Raises `ValueError` with what is wrong with it."""
        try:
            return cls.of(json.loads(text))
        except json.JSONDecodeError as error:
            raise ValueError(f"a membership record must be JSON: {error}") from None

    @classmethod
    def of(cls, document: Any) -> Self:
        """Return the record in a JSON value. Raises `ValueError`."""
        try:
            return cls(
                epoch=_whole(document["epoch"]),
                size=_whole(document["size"]),
                past=tuple(sorted({_whole(size) for size in document["past"]})),
                stores={int(ordinal): str(store) for ordinal, store in document["stores"].items()},
                lost=tuple(str(store) for store in document["lost"]),
            )
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise ValueError(f"not a membership record: {document!r}: {error}") from None


@dataclass(frozen=True)
class Report:
    """What a replica says of itself when it is sent a record, or asked."""

    ordinal: int
    store: str
    boot: int
    """How often its store was opened; less than last time: an older copy of its volume was put in place."""
    record: Record | None
    clean: bool
    """It goes by `record`, and nothing that it holds belongs elsewhere."""
    held: int = 0
    """Live sessions."""
    ended: int = 0
    foreign: int = 0
    """Sessions that belong elsewhere, or are on their way."""
    unreadable: int = 0
    """Live sessions whose state the model that is loaded there cannot go on from."""
    bytes: int = 0

    @classmethod
    def of(cls, document: Any) -> Self:
        """Return the report in a JSON value. Raises `ValueError`."""
        try:
            record, counts = document["record"], document["counts"]
            return cls(
                ordinal=int(document["ordinal"]),
                store=str(document["store"]),
                boot=int(document["boot"]),
                record=None if record is None else Record.of(record),
                clean=document["clean"] is True,
                held=int(counts["held"]),
                ended=int(counts["ended"]),
                foreign=int(counts["foreign"]),
                unreadable=int(counts["unreadable"]),
                bytes=int(counts["bytes"]),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"not a replica's report: {document!r}: {error}") from None


def _whole(value: Any) -> int:
    if type(value) is not int or value < 1:
        raise ValueError(f"{value!r} must be a whole number from 1")
    return value
