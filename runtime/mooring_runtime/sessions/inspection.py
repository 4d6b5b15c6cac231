"""What one session is, for who looks at it. Pure."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from mooring_runtime.sessions.copies import Copy, Kept
from mooring_runtime.sessions.encoding import state_digest
from mooring_runtime.sessions.keys import Key
from mooring_runtime.sessions.listing import Row, instant, row_of
from mooring_runtime.sessions.trace import LastError, TracedStep


@dataclass(frozen=True, slots=True)
class Moment:
    """What is known of a session beside what is on disk of it."""

    owner: int
    """Ordinal of the replica that has it; -1: a volume that no server has open."""
    now: int
    """Milliseconds since 1970."""
    expires: int | None = None
    """Milliseconds since 1970 when it expires if nothing is done to it; None: never."""
    durable: int | None = None
    """The last step that is surely on disk; None: that which was applied last."""
    waiting: int = 0
    """Requests that wait for those before them."""
    watched: int = 0
    """Steps that its trace keeps; 0: there is none."""
    error: LastError | None = None


def row_at(key: Key, copy: Copy, moment: Moment) -> Row:
    """The row of a session in the list."""
    return row_of(key, copy, moment.owner, moment.now, moment.expires)


def detail_of(key: Key, kept: Kept, moment: Moment) -> dict[str, Any]:
    """What `GET /v2/sessions/ID` answers: the row of the list, and what only its holder knows.

    It looks at every byte of the state, so call it on a thread.
    """
    copy, error = kept.copy, moment.error
    return {
        **asdict(row_at(key, copy, moment)),
        "digest": state_digest(kept.state).hex() if kept.state else None,
        "fingerprint": copy.fingerprint,
        "tensors": [
            {"name": each.name, "datatype": each.datatype, "shape": list(each.array.shape)} for each in kept.state
        ],
        "durable_step": copy.step if moment.durable is None else moment.durable,
        "replies": [{"step": reply.step, "bytes": reply.size} for reply in kept.replies],
        "epoch": copy.since,
        "moving_to": None if copy.to is None else copy.to.ordinal,
        "ended": None
        if copy.end is None
        else {"cause": copy.end.cause, "time": instant(copy.end.time), "step": copy.end.step},
        "rewound": copy.rewound,
        "waiting": moment.waiting,
        "watched": moment.watched,
        "last_error": None if error is None else {**error._asdict(), "time": instant(error.time)},
    }


def traced(step: TracedStep) -> Mapping[str, Any]:
    """A step of a trace as JSON has it."""
    return {**step._asdict(), "time": instant(step.time), "digest": step.digest.hex()}
