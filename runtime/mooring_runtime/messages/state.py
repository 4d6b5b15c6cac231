"""What a request says of its session, what an answer says of it, and what the state of a model is made of. Pure."""

from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any, NamedTuple

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]


class SessionCall(NamedTuple):
    """What a request says of its session, whatever protocol carried it."""

    id: str
    """Empty with `new`."""
    start: bool = False
    end: bool = False
    new: bool = False
    """A new id is to be made."""
    step: int | None = None
    """The number of the step; without one it is the next."""
    incarnation: int | None = None
    """The life of the id that is meant; without one it is the present."""


class SessionInfo(NamedTuple):
    """What an answer says of its session."""

    id: str
    step: int
    incarnation: int
    repeat: bool = False
    """It is a stored reply: the step was applied earlier."""
    durable: int | None = None
    """The last step that is on disk, where that may be an earlier one."""
    ended: bool = False
    """This step ended the session."""
    expires: int | None = None
    """Milliseconds since 1970 when an idle session expires; None: never."""


@dataclass(frozen=True, slots=True)
class StatePair:
    """One tensor of a model's state: the input that takes it and the output that gives the next.

    With `window` neither is the model's: the state is the last elements of what the client sent under `input`, along
    its last axis, and goes before what it sends next.
    """

    name: str
    """Of the tensor in a state; the input's, and of a window that with `.window` behind it."""
    input: str
    """The model's input that takes the state; of a window the one that it goes before."""
    output: str
    """What `outputs` of a run names to be given the next state; of a window its `name`."""
    datatype: str
    shape: tuple[int, ...]
    """As it is kept: where sessions can share a run the first size is 1 and stands for the session, whatever axis of
    the model that is; else the model's own shape. -1: a size that changes from step to step."""
    axis: int | None = 0
    """The axis of the model's tensors along which sessions stand beside each other; None: they cannot."""
    initial: Array | None = field(default=None, compare=False)
    """The first state, in `shape`; None: zeros, where a size of -1 is 0."""
    window: int = 0
    """Elements that are kept of the input; 0: this is no window."""

    def first(self, dtype: np.dtype[Any]) -> Array:
        """The state of a session that has made no step."""
        if self.initial is not None:
            return self.initial
        return np.full([max(size, 0) for size in self.shape], b"" if dtype.kind == "O" else 0, dtype)

    def takes(self, shape: tuple[int, ...]) -> bool:
        """Whether the state of one session may have this shape."""
        return len(shape) == len(self.shape) and all(
            size in (-1, found) for size, found in zip(self.shape, shape, strict=True)
        )


@dataclass(frozen=True, slots=True)
class StateSchema:
    """The state of a model: its pairs in the order of their names, and the model's own word on their meaning."""

    pairs: tuple[StatePair, ...]
    version: str = ""
    """`stateVersion`: changes when the same tensors mean something else."""
    fingerprint: str = field(init=False)
    """Equal for schemas whose states can be exchanged: of 32 hexadecimal digits."""
    outputs: tuple[str, ...] = field(init=False)
    """What a run is asked for beside the client's outputs, to be given the next state: one for each pair."""
    grows: bool = field(init=False)
    """The states of two sessions may differ in their shapes, and only those with the same ones share a run."""

    def __post_init__(self) -> None:
        text = "\n".join([self.version, *(f"{each.name} {each.datatype} {list(each.shape)}" for each in self.pairs)])
        object.__setattr__(self, "fingerprint", blake2b(text.encode(), digest_size=16).hexdigest())
        object.__setattr__(self, "outputs", tuple(each.output for each in self.pairs))
        object.__setattr__(self, "grows", any(-1 in each.shape for each in self.pairs))
