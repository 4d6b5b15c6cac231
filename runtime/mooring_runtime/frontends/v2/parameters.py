"""The parameters of a V2 request: those that the protocol reserves, and those that belong to the model. Pure."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from mooring_runtime.errors import InvalidRequest
from mooring_runtime.frontends.shown import cut, shown
from mooring_runtime.frontends.v2 import sessions
from mooring_runtime.messages import NONE, Parameter, SessionCall

_TYPES = frozenset({bool, int, float, str})
_RESERVED = "triton_"
_MICROSECOND = 1e-6
_LONGEST = 2**63
"""Microseconds above which a time limit is no number of the protocol's types."""


class Requested(NamedTuple):
    """What the parameters of one request ask for; the fields are those of `InferRequest`."""

    parameters: Mapping[str, Parameter] = NONE
    priority: int = 0
    timeout: float | None = None
    session: SessionCall | None = None
    """What they say of the session, which may be a part of it: see `sessions.joined`."""


def requested(parameters: Mapping[str, Any], ours: frozenset[str] = frozenset()) -> Requested:
    """Sort the parameters of a request. `ours` names those that the front end itself has read, `triton_` ones too.

    Raises InvalidRequest for what is reserved or has the wrong type, BadSession for what can be no session.
    """
    own: dict[str, Parameter] = {}
    sequence: dict[str, Any] | None = None
    priority, timeout = 0, None
    for name, value in parameters.items():
        if name in ours:
            continue
        if name == "priority":
            priority = _whole(name, value)
        elif name == "timeout":
            timeout = _whole(name, value) * _MICROSECOND or None
        elif name in sessions.PARAMETERS:
            sequence = sequence or {}
            sequence[name] = value
        elif name == "headers" or name.startswith(_RESERVED):
            raise InvalidRequest(
                f"parameter {cut(name)} cannot be used: `headers` and names that begin with {_RESERVED} are reserved"
            )
        elif type(value) in _TYPES:
            own[name] = value
        else:
            raise InvalidRequest(
                f"parameter {cut(name)} is {shown(value)}, it must be a string, a number, true or false"
            )
    session = None if sequence is None else sessions.from_parameters(sequence)
    return Requested(own or NONE, priority, timeout, session)


def _whole(name: str, value: object) -> int:
    if type(value) is str and value.isascii() and value.isdigit() and len(value) < 20:
        value = int(value)  # Over gRPC some clients send every number as a string.
    if type(value) is not int or not 0 <= value < _LONGEST:
        raise InvalidRequest(f"parameter {cut(name)} is {shown(value)}, it must be a whole number from 0")
    return value
