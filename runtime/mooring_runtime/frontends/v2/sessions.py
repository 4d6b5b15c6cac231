"""How clients name the session of a request, and what they are told of it: what HTTP and gRPC share. Pure.

| V2 parameter | header, or metadata of gRPC | of a request |
| --- | --- | --- |
| `sequence_id` | `X-Mooring-Session` | the id; `new` asks for a new one, 0 and nothing name none |
| `sequence_start` | `X-Mooring-Session-Start` | the session begins with this step |
| `sequence_end` | `X-Mooring-Session-End` | it ends with this step |
| `sequence_step` | `X-Mooring-Step` | the number of the step, from 1 |
| `sequence_incarnation` | `X-Mooring-Incarnation` | the life of the id that is meant |

Answers carry the same names, and `sequence_repeat` (`X-Mooring-Repeat`) and `sequence_durable_step`
(`X-Mooring-Durable-Step`). An id in a header is percent-encoded where it is anything but plain visible ASCII; an
incarnation is told as text, because many readers of JSON lose digits of numbers above 2^53.

What one place of a request says is a `SessionCall` too, in which the id may be missing; `joined` puts two together.
"""

import re
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any, NamedTuple
from urllib.parse import quote_from_bytes, unquote_to_bytes

import orjson

from mooring_runtime.errors import Applied, Cancelled, InvalidRequest, RequestError, Unavailable, UnknownModel
from mooring_runtime.errors.sessions import BadSession, SessionError
from mooring_runtime.frontends.shown import cut, shown
from mooring_runtime.messages import InferResponse, ModelMetadata, Parameter, SessionCall, SessionInfo
from mooring_runtime.sessions.keys import session_id

NEW = "new"
"""In the place of an id: make one."""
ID, START, END = "sequence_id", "sequence_start", "sequence_end"
STEP, INCARNATION = "sequence_step", "sequence_incarnation"
PARAMETERS = frozenset({ID, START, END, STEP, INCARNATION})
"""The parameters of a request that are about its session."""

HEADERS = {
    b"x-mooring-session": ID,
    b"x-mooring-session-start": START,
    b"x-mooring-session-end": END,
    b"x-mooring-step": STEP,
    b"x-mooring-incarnation": INCARNATION,
}
_AS_HEADERS = {name: header.decode() for header, name in HEADERS.items()}
_AS_THEY_ARE = {name: name for name in PARAMETERS}
_NOTHING = SessionCall("")
_FLAGS: Mapping[object, bool] = {"true": True, "false": False, "1": True, "0": False, "": False}
_LARGEST = 2**64
_VISIBLE = "!#$&'()*+-./:<=>?@[]^_`{|}~"
"""Beside letters and digits: what stands in a header as it is. Not `,` and `;`, which divide values, nor `%`."""
_PLAIN = re.compile(r"[!#$&-+\--:<-\[\]-~]*")
"""An id that is the same in a header, as nearly all are."""

Pairs = tuple[tuple[bytes, bytes], ...]


# --- what a request says


def from_parameters(found: Mapping[str, object]) -> SessionCall | None:
    """What those of `PARAMETERS` that a request has say; None where they say nothing, as clients send by default.

    Raises BadSession.
    """
    name = found.get(ID)
    given = None if name is None else name if type(name) is str else session_id(name)  # type: ignore[arg-type]
    return _call(given, found, _AS_THEY_ARE)


def from_headers(headers: Mapping[bytes, bytes]) -> SessionCall | None:
    """What the headers of Mooring say; None where they say nothing. Raises BadSession."""
    found = {name: headers[header].decode("latin-1") for header, name in HEADERS.items() if header in headers}
    if not found:
        return None
    given = id_in_header("X-Mooring-Session", headers[b"x-mooring-session"]) if ID in found else None
    return _call(given, found, _AS_HEADERS)


def id_in_header(header: str, value: bytes) -> str:
    """The id that stands in a header or a cookie. Raises BadSession for two, and for what is no UTF-8."""
    if b"," in value:
        raise BadSession(f"{header} is {shown(value)}: it takes one session, whose commas are written as %2C")
    try:
        return (unquote_to_bytes(value) if b"%" in value else value).decode()
    except UnicodeDecodeError:
        raise BadSession(f"{header} is {shown(value)}, which is no percent-encoded UTF-8") from None


def flag(what: str, value: object) -> bool:
    """True or false. Raises BadSession for anything else."""
    if value is True or value is False:
        return value
    found = _FLAGS.get(str(value).lower()) if type(value) in (str, int) else None
    if found is None:
        raise BadSession(f"{what} is {shown(value)}, it must be true or false")
    return found


def named(session: str) -> SessionCall | None:
    """A call for the id in a text, which may be `new`, or name none. Raises BadSession for one that cannot be."""
    if session == NEW:
        return SessionCall("", new=True)
    # The number 0 means none, and the id of a number is its text.
    found = None if session == "0" else session_id(session)
    return None if found is None else SessionCall(found)


def _call(given: str | None, found: Mapping[str, object], names: Mapping[str, str]) -> SessionCall | None:
    """`names`: what the client calls each of `found`."""
    call = (None if given is None else named(given)) or _NOTHING
    start, end, step, incarnation = found.get(START), found.get(END), found.get(STEP), found.get(INCARNATION)
    call = SessionCall(
        call.id,
        start is not None and flag(names[START], start),
        end is not None and flag(names[END], end),
        call.new,
        None if step is None else _whole(names[STEP], step, 1, "bad-step"),
        None if incarnation is None else _whole(names[INCARNATION], incarnation, 0, "bad-session"),
    )
    return None if call == _NOTHING else call


def _whole(what: str, value: object, low: int, cause: str) -> int:
    number: Any = value
    if type(value) is str and value.isascii() and value.isdigit() and len(value) <= 20:
        number = int(value)
    if type(number) is not int or not low <= number < _LARGEST:
        raise BadSession(f"{what} is {shown(value)}, it must be a whole number from {low} to {_LARGEST - 1}", cause)
    return number


def joined(first: SessionCall | None, second: SessionCall | None) -> SessionCall | None:
    """What two places of a request say together. Raises BadSession where they differ."""
    if first is None or second is None:
        return first or second
    if _names(first) and _names(second) and (first.id, first.new) != (second.id, second.new):
        raise BadSession(f"the request names two sessions, {_shown(first)} and {_shown(second)}; it must name one")
    if None not in (first.step, second.step) and first.step != second.step:
        raise BadSession(f"the request has two step numbers, {first.step} and {second.step}", "bad-step")
    if None not in (first.incarnation, second.incarnation) and first.incarnation != second.incarnation:
        raise BadSession(f"the request has two incarnations, {first.incarnation} and {second.incarnation}")
    return SessionCall(
        first.id or second.id,
        first.start or second.start,
        first.end or second.end,
        first.new or second.new,
        second.step if first.step is None else first.step,
        second.incarnation if first.incarnation is None else first.incarnation,
    )


def settled(metadata: ModelMetadata, call: SessionCall | None) -> SessionCall | None:
    """The session of a request for this model, when all that its client says is known.

    Raises BadSession for a model that keeps no state, for a step of no session, and for what a new one never has.
    """
    if call is None:
        return None
    if metadata.state is None:
        what = f"session {_shown(call)}" if _names(call) else "a session"
        raise BadSession(
            f"{what} cannot be used: model '{metadata.name}' keeps no state between requests; a model that has state "
            "keeps it where MOORING_SESSION_PATH is set",
            session=call.id or None,
        )
    if not _names(call):
        raise BadSession("the request is a step of a session, but does not name it: sequence_id or X-Mooring-Session")
    if call.new and call.step not in (None, 1):
        raise BadSession(f"the first step of a new session is step 1, not {call.step}", "bad-step", step=call.step)
    if call.new and call.incarnation is not None:
        raise BadSession("a new session has no incarnation yet; leave it out")
    return call


def _names(call: SessionCall) -> bool:
    return call.new or call.id != ""


def _shown(call: SessionCall) -> str:
    return NEW if call.new else f"'{cut(call.id)}'"


# --- what an answer says


def in_header(session: str) -> bytes:
    """An id as it stands in a header."""
    return (session if _PLAIN.fullmatch(session) else quote_from_bytes(session.encode(), _VISIBLE)).encode()


class Texts(NamedTuple):
    """An id as answers tell it."""

    json: bytes
    header: bytes


@lru_cache(4096)
def texts_of(session: str) -> Texts:
    """The texts of an id, which are the same for each step of it."""
    return Texts(orjson.dumps(session), in_header(session))


def usual(info: SessionInfo) -> tuple[bytes, bytes] | None:
    """(the parameters of an answer as JSON, its headers as lines); None for one that has more to tell than most."""
    session, step, incarnation, repeat, durable, ended, _ = info
    if repeat or ended or durable is not None:
        return None
    if session.isascii() and session.replace(".", "").isalnum():
        header = session.encode()
        text = b'"%b"' % header
    else:
        text, header = texts_of(session)
    return (
        b'{"sequence_id":%b,"sequence_step":%d,"sequence_incarnation":"%d"}' % (text, step, incarnation),
        b"X-Mooring-Session: %b\r\nX-Mooring-Step: %d\r\nX-Mooring-Incarnation: %d\r\n" % (header, step, incarnation),
    )


def headers(info: SessionInfo) -> Pairs:
    """What the headers of an answer say of its session."""
    told = [
        (b"X-Mooring-Session", in_header(info.id)),
        (b"X-Mooring-Step", b"%d" % info.step),
        (b"X-Mooring-Incarnation", b"%d" % info.incarnation),
    ]
    if info.repeat:
        told.append((b"X-Mooring-Repeat", b"true"))
    if info.durable is not None:
        told.append((b"X-Mooring-Durable-Step", b"%d" % info.durable))
    if info.ended:
        told.append((b"X-Mooring-Session-End", b"true"))
    return tuple(told)


def parameters(info: SessionInfo) -> dict[str, Parameter]:
    """What the parameters of an answer say of its session."""
    told: dict[str, Parameter] = {ID: info.id, STEP: info.step, INCARNATION: str(info.incarnation)}
    if info.repeat:
        told["sequence_repeat"] = True
    if info.durable is not None:
        told["sequence_durable_step"] = info.durable
    if info.ended:
        told[END] = True
    return told


_BEFORE_ITS_RUN = (InvalidRequest, UnknownModel, Unavailable, Cancelled)
"""Errors by which nothing has been applied, whatever the session: none of them is told of a run that gave a result."""


def applied(error: RequestError, *, begun: bool) -> Applied:
    """Whether a step that fails so is in its session's state; `begun`: it was handed to the data plane."""
    if error.applied is not None:
        return error.applied
    # Not to know is always true; a client that is told `no` in error sends the step again, and it is applied twice.
    return "no" if not begun or isinstance(error, _BEFORE_ITS_RUN) else "unknown"


def unwritten(error: RequestError, outcome: InferResponse | RequestError) -> RequestError:
    """The error by which an answer could not be written, which says that its step was applied all the same."""
    if isinstance(outcome, InferResponse) and outcome.session is not None:
        error.applied = "yes"
    return error


def about(error: RequestError, call: SessionCall | None, *, begun: bool) -> dict[str, str | int]:
    """What a program is told of an error beside its words; nothing where no session was named.

    The keys are `cause`, `applied`, and where they are known `session`, `step` and `expected`.
    """
    special = error if isinstance(error, SessionError) else None
    if special is None and call is None and error.applied is None:
        return {}
    told: dict[str, str | int] = {"cause": error.cause, "applied": applied(error, begun=begun)}
    session, step, expected = (None,) * 3 if special is None else (special.session, special.step, special.expected)
    if call is not None:
        session, step = session or call.id or None, call.step if step is None else step
    known: Iterable[tuple[str, str | int | None]] = (("session", session), ("step", step), ("expected", expected))
    told.update({name: value for name, value in known if value is not None})
    return told
