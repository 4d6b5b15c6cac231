"""What the operator and the replicas of a stateful service say to each other: the membership record, and the report.

The record says how many ordinals are members. It is kept in the ConfigMap `<service>-membership`, never changed once
it is written (a change is another one with a higher epoch), and sent to each replica, which answers with its report.
`tests/contract/` checks that the runtime reads and writes the same.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Self

MOST_REPLICAS: Final = 1000
"""As in the schema. What replicas and people write is bounded by it: a size of a thousand million, believed, would make
the operator count so far, and no other service would be served meanwhile.
"""
_LARGEST: Final = 2**53
_LONGEST_STORE: Final = 64
_SHOWN: Final = 300
_COUNTS: Final = ("held", "ended", "foreign", "unreadable", "bytes")


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
        return cls.of(_json(text, "a membership record"))

    @classmethod
    def of(cls, document: Any) -> Self:
        """Return the record in a JSON value. Raises `ValueError`."""
        try:
            return cls(
                epoch=_whole(document["epoch"], 1),
                size=_whole(document["size"], 1, MOST_REPLICAS),
                past=tuple(sorted({_whole(size, 1, MOST_REPLICAS) for size in document["past"]})),
                stores={_ordinal(ordinal): _store(store) for ordinal, store in document["stores"].items()},
                lost=tuple(_store(store) for store in document["lost"]),
            )
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise ValueError(f"not a membership record: {_shown(document)}: {error}") from None


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
    quarantined: int = 0
    """Sessions that were set aside, since what is on disk of them is damaged: never served, never moved."""

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the report in an answer. Raises `ValueError` with what is wrong with it."""
        return cls.of(_json(text, "a replica's report"))

    @classmethod
    def of(cls, document: Any) -> Self:
        """Return the report in a JSON value. Raises `ValueError`."""
        try:
            record, counts = document["record"], document["counts"]
            return cls(
                ordinal=_whole(document["ordinal"], 0, MOST_REPLICAS - 1),
                store=_store(document["store"]),
                boot=_whole(document["boot"]),
                record=None if record is None else Record.of(record),
                clean=document["clean"] is True,
                **{name: _whole(counts[name]) for name in _COUNTS},
                quarantined=_whole(counts.get("quarantined", 0)),
            )
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise ValueError(f"not a replica's report: {_shown(document)}: {error}") from None


def _json(text: str, what: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise ValueError(f"{what} must be JSON: {error}") from None
    except RecursionError:
        raise ValueError(f"{what} must be JSON that is not so deep") from None


def _whole(value: Any, least: int = 0, most: int = _LARGEST) -> int:
    if type(value) is not int or not least <= value <= most:
        raise ValueError(f"{_shown(value)} must be a whole number from {least} to {most}")
    return value


def _ordinal(text: str) -> int:
    return _whole(int(text) if text.isascii() and text.isdigit() else text, 0, MOST_REPLICAS - 1)


def _store(value: Any) -> str:
    if not isinstance(value, str) or not 0 < len(value) <= _LONGEST_STORE:
        raise ValueError(f"{_shown(value)} must be the id of a store")
    return value


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."
