"""What a replica has of a session: the copy, its state and its last replies. Immutable."""

import enum
from typing import NamedTuple

from mooring_runtime.messages import Tensor
from mooring_runtime.sessions.tensors import bytes_of, decode_tensors, encode_tensors

State = tuple[Tensor, ...]
"""The tensors that the last step left, in the order of the model's state pairs."""

KEPT_REPLIES = 4
"""Replies that are kept of a session, for clients that ask again."""
KEPT_REPLY_BYTES = 256 * 2**10
"""Bytes of tensors above which older replies are dropped earlier; the last one always stays."""


class Phase(enum.IntEnum):
    """Where a copy is; the numbers stand on disk."""

    HELD = 1
    MOVING = 2
    MOVED = 3


class End(NamedTuple):
    """How a session ended."""

    cause: str
    """`ended`, `expired`, `evicted` or `restarted`: what a later step is told."""
    time: int
    """Milliseconds since 1970, by the holder's clock."""
    step: int
    """The last step that was applied."""


class Target(NamedTuple):
    """Where a copy in phase `moving` goes."""

    ordinal: int
    store: str


class Copy(NamedTuple):
    """What stands on disk about a session, beside its tensors."""

    phase: Phase
    since: int
    """The epoch under which this replica created or received it."""
    incarnation: int = 0
    """64 random bits of this life of the id."""
    step: int = 0
    """The last step that was applied."""
    end: End | None = None
    to: Target | None = None
    """Of `moving` only."""
    version: str = ""
    """The model's version that made the state."""
    fingerprint: str = ""
    """Of the schema of the state."""
    created: int = 0
    """Milliseconds since 1970, by the clock of who created it."""
    last_used: int = 0
    """Milliseconds since 1970, by the holder's clock."""
    size: int = 0
    """Bytes of the state's arrays."""
    digest: bytes = b""
    """BLAKE2b of 16 bytes over the state, as `encoding.state_digest` gives it, where the copy came with a file; else
    empty: neither steps nor reads from disk pay for what only people look at."""
    rewound: bool = False
    """The store that it was moving to is lost, and with it perhaps steps that were acknowledged there: the next step
    is told so instead of being applied, once, and the commit of that clears this. Of `moved`: something was set aside
    here, and dropped under the epoch `since`; copies that are older may lack what that had."""

    @property
    def live(self) -> bool:
        """Held here, and not ended."""
        return self.phase is Phase.HELD and self.end is None


HERE_BYTES = 1024
"""Bytes of a state, and of all replies together, up to which they stand in one record with the copy: a step then writes
one record. Larger ones would be written again with each step, though only one of them is new."""


class _Reply(NamedTuple):
    step: int
    digest: bytes
    """Of the step's inputs, see `steps.digest_of`."""
    size: int
    """Bytes of the arrays."""
    kept: "bytes | tuple[Tensor, ...]"
    """The outputs: of a small reply as they stand on disk, which takes less memory than arrays and is written often."""


class StoredReply(_Reply):
    """The reply to a step that was applied."""

    __slots__ = ()

    def __new__(cls, step: int, digest: bytes, outputs: tuple[Tensor, ...]) -> "StoredReply":
        """Counts the bytes, which are asked for again and again while the reply is kept."""
        size = 0
        for _, datatype, array in outputs:
            size += array.nbytes if datatype != "BYTES" else bytes_of(array)
        return tuple.__new__(cls, (step, digest, size, outputs if size > HERE_BYTES else encode_tensors(outputs)))

    @property
    def outputs(self) -> tuple[Tensor, ...]:
        """What the client was answered."""
        kept = self.kept
        return kept if type(kept) is tuple else decode_tensors(memoryview(kept))[0]  # type: ignore[arg-type]

    @property
    def encoded(self) -> bytes:
        """The outputs as they stand on disk."""
        kept = self.kept
        return kept if type(kept) is bytes else encode_tensors(kept)  # type: ignore[arg-type]


class Kept(NamedTuple):
    """All that a replica has of a session."""

    copy: Copy
    state: State = ()
    replies: tuple[StoredReply, ...] = ()
    """Rising by step."""


def kept_replies(replies: tuple[StoredReply, ...], new: StoredReply) -> tuple[StoredReply, ...]:
    """Those of `replies` and the new one that stay."""
    room = KEPT_REPLY_BYTES - new.size
    kept = 0
    for reply in reversed(replies[1 - KEPT_REPLIES :]):
        room -= reply.size
        if room < 0:
            break
        kept += 1
    return (*replies[len(replies) - kept :], new)


def apart(copy: Copy, replies: tuple[StoredReply, ...]) -> tuple[bool, bool]:
    """Whether the state of a session, and its replies, have records of their own beside the copy's."""
    size = 0
    for reply in replies:
        size += reply.size
    return copy.size > HERE_BYTES, size > HERE_BYTES
