"""The membership record: how many ordinals are members. Made by the operator, adopted by replicas. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson


@dataclass(frozen=True, slots=True)
class Record:
    """One membership; never changed once it is written, a change is another record with a higher epoch."""

    epoch: int
    size: int
    """Members are the ordinals below this."""
    past: tuple[int, ...] = ()
    """Earlier sizes under which some replica may still hold a session; rising."""
    stores: Mapping[int, str] = field(default_factory=dict)
    """Ordinal to the id of the store that it must have; an ordinal that is not here may have any."""
    lost: tuple[str, ...] = ()
    """Ids of stores that were given up."""

    @property
    def settled(self) -> bool:
        """Every session is where it should be."""
        return not self.past

    @property
    def least(self) -> int:
        """Ordinals below this are members under every record that a replica may still go by."""
        return min(self.size, *self.past, self.size)

    def to_json(self) -> bytes:
        """Its text, in the ConfigMap, on disk and in messages."""
        return orjson.dumps(
            {
                "epoch": self.epoch,
                "size": self.size,
                "past": self.past,
                "stores": {str(ordinal): store for ordinal, store in sorted(self.stores.items())},
                "lost": self.lost,
            }
        )


ALONE = Record(1, 1)
"""Of a server that has no cluster and no peers."""


def parse(text: bytes) -> Record:
    """The record in a text. Raises ValueError with what is wrong with it."""
    try:
        document = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise ValueError(f"a membership record must be JSON: {error}") from None
    return from_document(document)


def from_document(document: Any) -> Record:
    """The record in a JSON value. Raises ValueError."""
    if not isinstance(document, dict):
        raise ValueError(  # noqa: TRY004 - as everything else that is wrong with a text
            f"a membership record must be a JSON object, not {type(document).__name__}"
        )
    stores, lost = document.get("stores", {}), document.get("lost", [])
    if not isinstance(stores, dict) or not all(
        key.isascii() and key.isdigit() and isinstance(value, str) for key, value in stores.items()
    ):
        raise ValueError(f"stores of a membership record is {stores!r}, it must be an object of ordinal to store id")
    if not isinstance(lost, list) or not all(isinstance(store, str) for store in lost):
        raise ValueError(f"lost of a membership record is {lost!r}, it must be a list of store ids")
    past = document.get("past", [])
    if not isinstance(past, list):
        raise ValueError(  # noqa: TRY004 - as everything else that is wrong with a text
            f"past of a membership record is {past!r}, it must be a list of sizes"
        )
    return Record(
        _whole(document.get("epoch"), "epoch"),
        _whole(document.get("size"), "size"),
        tuple(sorted({_whole(size, "past") for size in past})),
        {int(ordinal): store for ordinal, store in stores.items()},
        tuple(lost),
    )


def _whole(value: Any, name: str) -> int:
    if type(value) is not int or not 1 <= value < 2**53:
        raise ValueError(f"{name} of a membership record is {value!r}, it must be a whole number from 1")
    return value
