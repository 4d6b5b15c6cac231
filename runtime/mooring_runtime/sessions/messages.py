"""What replicas say to each other, and its bytes. Pure.

There are five messages: a membership record, a client's step (`passing` has its bytes), the questions `absent` and
`offer`, and `take`. Each goes in an envelope. The record itself stands in a message only where it is news: who gets a
message of a later epoch than its own answers `Behind`, has done nothing, and is sent the record before the message
comes again; who gets one of an earlier epoch answers with its own record.

The JSON is for people with a debugger and for the operator; what is large, the tensors, stands behind it as bytes.
"""

import enum
import struct
from collections.abc import Mapping
from typing import Any, NamedTuple

import orjson

from mooring_runtime.sessions import record
from mooring_runtime.sessions.encoding import Packed, pack, unpack
from mooring_runtime.sessions.keys import Key
from mooring_runtime.sessions.membership import Report
from mooring_runtime.sessions.record import Record
from mooring_runtime.sessions.store import Corrupt

_HEAD = struct.Struct("<I")


class Envelope(NamedTuple):
    """Who speaks to whom, and by which record."""

    epoch: int
    """Of the sender's record; 0: it has none."""
    sender: int | None
    """The sender's ordinal; None: it is no replica, but the operator."""
    to: int | None
    """The ordinal that is meant; None: whoever is there."""
    store: str = ""
    """The id of the store that is meant; empty: any. Else nothing is done."""


class Introduce(NamedTuple):
    """`PUT /membership`: go by this record. The answer is a Report."""

    record: Record


class Ask(NamedTuple):
    """`POST /absent`: is there nothing of these sessions? The answer is `Presences`."""

    keys: tuple[Key, ...]
    since: tuple[int, ...] = ()
    """Of the copies that the sender has of them, on their way to stores that were given up: it asks whether there is
    anything newer. Empty: it has none."""


class Offer(NamedTuple):
    """`POST /offer`: would you take sessions like these? The answer is `Offered`, and binds no one."""

    model: str
    version: str
    fingerprint: str
    """Of the schema of their states; empty: they have none, since they have ended or not begun."""
    sessions: int
    size: int
    """Bytes of their states."""


class Take(NamedTuple):
    """`POST /take`: keep these sessions from now on. The answer is `Verdicts`, one a session."""

    sessions: tuple[Packed, ...]
    """As each stands on its owner's disk: its `since` is the epoch under which the sender got it."""
    proved: tuple[int, ...] = ()
    """The epochs under which all others have said that they have nothing newer of them; 0: nobody was asked."""


class Presence(enum.Enum):
    """What a replica says of a session that it is asked about."""

    ABSENT = "absent"
    HERE = "here"
    MOVING = "moving"
    TORN = "torn"
    """Here, and set aside."""


class Word(enum.Enum):
    """What a replica says of a session that it is handed."""

    TAKEN = "taken"
    """It is on my disk, now or since earlier: forget it."""
    REFUSED = "refused"
    """I am not the place for it: keep it."""
    DROPPED = "dropped"
    """What was here was set aside, and dropped by a person: it may have been newer, or have been handed on. Ask all
    that may have it, and send it again with what they say."""
    STALE = "stale"
    """You go by an older record than I."""
    LATER = "later"
    """Not now, for the reason given: go on asking."""
    BROKEN = "broken"
    """I hold an older copy of it, which cannot be. Nothing is done."""


class Verdict(NamedTuple):
    """The answer about one session of a `Take`."""

    word: Word
    cause: str = ""


class Behind(NamedTuple):
    """Nothing was done: the receiver does not have the sender's record."""


class Stale(NamedTuple):
    """Nothing was done: the sender does not have the receiver's record, which comes along."""


class Presences(NamedTuple):
    """The answers to `Ask`, in its order."""

    words: tuple[Presence, ...]


class Offered(NamedTuple):
    """The answer to `Offer`."""

    store: str
    """The id of the store that would take them."""
    cause: str = ""
    """Why not; empty: yes."""


class Verdicts(NamedTuple):
    """The answers to `Take`, in its order."""

    verdicts: tuple[Verdict, ...]


Message = Introduce | Ask | Offer | Take
Body = Report | Presences | Offered | Verdicts | Behind | Stale


class Answer(NamedTuple):
    """What comes back."""

    epoch: int
    """Under which the receiver has answered."""
    record: Record | None
    """The receiver's, where it is newer than the sender's."""
    body: Body


PATHS: Mapping[type[Message], str] = {
    Introduce: "/membership",
    Ask: "/absent",
    Offer: "/offer",
    Take: "/take",
}
STEP_PATH = "/step"


# --- messages


def encode(message: Message) -> bytes:
    """The body of a message."""
    if isinstance(message, Introduce):
        return message.record.to_json()
    if isinstance(message, Ask):
        return orjson.dumps({"keys": [tuple(key) for key in message.keys], "since": message.since})
    if isinstance(message, Offer):
        return orjson.dumps(message._asdict())
    files = [pack(*each) for each in message.sessions]
    return frame({"sizes": [len(file) for file in files], "proved": message.proved}, files)


def decode(path: str, body: bytes) -> Message:
    """The message that came to `path`. Raises ValueError with what is wrong with it."""
    try:
        if path == PATHS[Introduce]:
            return Introduce(record.parse(body))
        if path == PATHS[Ask]:
            document = orjson.loads(body)
            return Ask(
                tuple(Key(model, session) for model, session in document["keys"]), tuple(document.get("since", ()))
            )
        if path == PATHS[Offer]:
            return Offer(**orjson.loads(body))
        head, rest = unframe(body)
        sessions, start = [], 0
        for size in head["sizes"]:
            sessions.append(unpack(bytes(rest[start : start + size])))
            start += size
        return Take(tuple(sessions), tuple(head.get("proved", ())))
    except (Corrupt, KeyError, TypeError, struct.error, orjson.JSONDecodeError) as error:
        raise ValueError(f"cannot read a message to {path}: {type(error).__name__}: {error}") from None


def frame(head: Mapping[str, Any], parts: list[bytes]) -> bytes:
    """A JSON object and what belongs to it, as one body; the parts begin at a multiple of eight bytes."""
    text = orjson.dumps(head)
    text += b" " * (-(_HEAD.size + len(text)) % 8)
    return b"".join((_HEAD.pack(len(text)), text, *parts))


def unframe(body: bytes) -> tuple[dict[str, Any], memoryview]:
    """What `frame` put together. Raises struct.error, TypeError, orjson.JSONDecodeError."""
    (size,) = _HEAD.unpack_from(body)
    head = orjson.loads(body[_HEAD.size : _HEAD.size + size])
    if type(head) is not dict:
        raise TypeError("the head is no JSON object")
    return head, memoryview(body)[_HEAD.size + size :]


# --- answers


def encode_answer(answer: Answer) -> bytes:
    """The body of an answer: one JSON object. That to a record is the report, which the operator reads."""
    body = answer.body
    if isinstance(body, Report):
        return orjson.dumps(report_document(body))
    document: dict[str, Any] = {"epoch": answer.epoch}
    if answer.record is not None:
        document["record"] = orjson.loads(answer.record.to_json())
    match body:
        case Presences(words):
            document["presences"] = [word.value for word in words]
        case Offered(store, cause):
            document["offered"] = [store, cause]
        case Verdicts(verdicts):
            document["verdicts"] = [[verdict.word.value, verdict.cause] for verdict in verdicts]
        case Behind():
            document["behind"] = True
        case Stale():
            document["stale"] = True
    return orjson.dumps(document)


def decode_answer(path: str, body: bytes) -> Answer:
    """The answer of a message to `path`. Raises ValueError."""
    try:
        document = orjson.loads(body)
        if path == PATHS[Introduce] and "ordinal" in document:
            report = _report(document)
            return Answer(0 if report.record is None else report.record.epoch, report.record, report)
        newer = document.get("record")
        return Answer(document["epoch"], None if newer is None else record.from_document(newer), _body(document))
    except (KeyError, TypeError, AttributeError, orjson.JSONDecodeError) as error:
        raise ValueError(f"cannot read an answer of {path}: {type(error).__name__}: {error}") from None


def _body(document: Mapping[str, Any]) -> Body:
    if "presences" in document:
        return Presences(tuple(Presence(word) for word in document["presences"]))
    if "offered" in document:
        return Offered(*document["offered"])
    if "verdicts" in document:
        return Verdicts(tuple(Verdict(Word(word), cause) for word, cause in document["verdicts"]))
    return Behind() if "behind" in document else Stale()


def report_document(report: Report) -> dict[str, Any]:
    """A report as the operator reads it."""
    return {
        "ordinal": report.ordinal,
        "store": report.store,
        "boot": report.boot,
        "record": None if report.record is None else orjson.loads(report.record.to_json()),
        "clean": report.clean,
        "counts": {
            "held": report.held,
            "ended": report.ended,
            "foreign": report.foreign,
            "unreadable": report.unreadable,
            "bytes": report.size,
            "quarantined": report.quarantined,
        },
    }


def _report(document: Mapping[str, Any]) -> Report:
    counts, found = document["counts"], document["record"]
    return Report(
        document["ordinal"],
        document["store"],
        document["boot"],
        None if found is None else record.from_document(found),
        document["clean"],
        *(counts[name] for name in ("held", "ended", "foreign", "unreadable", "bytes", "quarantined")),
    )
