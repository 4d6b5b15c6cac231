"""The state of a stateful service: its volume, its durability, its limits."""

from typing import Annotated, Literal

from pydantic import Field

from .fields import Bytes, Days, Int, Minutes, Name, Target, VolumeSize, matches
from .quantities import is_quantity, quantity
from .rules import ApiModel, Rule


class Volume(ApiModel):
    """The volume that each replica keeps its sessions on."""

    size: VolumeSize
    """Size of the volume, such as 20Gi; it can only grow."""
    storage_class_name: Name | None = None
    """StorageClass of the volume; the cluster's default when left out. It cannot be changed."""

    RULES = (
        Rule(
            "has(self.storageClassName) == has(oldSelf.storageClassName) && "
            "(!has(self.storageClassName) || self.storageClassName == oldSelf.storageClassName)",
            "the storage class of existing volumes cannot be changed: make a new service",
            path=".storageClassName",
        ),
    )


class Durability(ApiModel):
    """When a step is on disk."""

    mode: Literal["step", "interval"] = "step"
    """`step`: on disk before the reply leaves. `interval`: at least that often; a crash may lose what came since."""
    interval: Target | None = None
    """Longest time between two writes, with `mode: interval`."""

    RULES = (
        Rule(
            "(self.mode == 'interval') == has(self.interval)",
            "set interval with mode: interval, and only then",
            lambda durability: (durability.mode == "interval") == (durability.interval is not None),
            ".interval",
        ),
    )


class Retention(ApiModel):
    """What becomes of the volumes, as in StatefulSet."""

    when_deleted: Literal["Retain", "Delete"] = "Retain"
    """When the service is deleted."""
    when_scaled: Literal["Retain", "Delete"] = "Retain"
    """When a replica goes."""


class State(ApiModel):
    """Sessions: the presence of this field makes the service stateful. It can be neither added nor removed later."""

    volume: Volume
    """The volume of each replica."""
    durability: Durability = Durability()
    """When a step is on disk."""
    session_ttl: Annotated[Days, Field(alias="sessionTTL")] = "24h"
    """Time after its last step when a session ends."""
    state_version: (
        Annotated[
            str,
            Field(min_length=1, max_length=63),
            matches(
                "^[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?$",
                "write letters, digits, '-', '_' and '.', beginning and ending with a letter or digit",
            ),
        ]
        | None
    ) = None
    """Version of the state's meaning; a model of another version needs a converter."""
    retention: Retention = Retention()
    """What becomes of the volumes."""
    drain_timeout: Minutes = "10m"
    """How long a leaving replica may take to hand its sessions over."""
    max_session_bytes: Bytes | None = None
    """Most bytes of one session's state."""
    max_sessions: Annotated[Int, Field(ge=1, le=100_000_000)] | None = None
    """Most sessions of one replica."""
    converter: (
        Annotated[
            str,
            Field(min_length=1, max_length=255),
            matches(
                "^[A-Za-z0-9_][-A-Za-z0-9_.]*$",
                "write the name of a file beside the model: letters, digits, '-', '_' and '.', without a folder",
            ),
        ]
        | None
    ) = None
    """File beside the model that converts states of an older version."""

    RULES = (
        Rule(
            "!has(self.maxSessionBytes) || !isQuantity(string(self.maxSessionBytes))"
            " || !isQuantity(string(self.volume.size))"
            " || quantity(string(self.maxSessionBytes)).compareTo(quantity(string(self.volume.size))) <= 0",
            "one session must fit on the volume: lower maxSessionBytes or raise volume.size",
            lambda state: state.max_session_bytes is None or _fits(state.max_session_bytes, state.volume.size),
            ".maxSessionBytes",
        ),
    )


def _fits(part: int | str, whole: int | str) -> bool:
    return not (is_quantity(part) and is_quantity(whole)) or quantity(part) <= quantity(whole)
