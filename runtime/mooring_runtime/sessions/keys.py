"""What a session is known by. Pure."""

import base64
import os
import re
from typing import NamedTuple

from mooring_runtime.errors.sessions import BadSession

MINTED = re.compile(r"(0|[1-9][0-9]{0,8})\.[a-z2-7]{26}")
"""The form of the ids that replicas make: the ordinal of the replica, and 128 random bits in base32."""
LONGEST_ID = 200
"""Bytes of an id in UTF-8: with the model's name it must fit into a key of the store, which has 511."""
_LARGEST = 2**64


class Key(NamedTuple):
    """Names one session."""

    model: str
    session: str

    def encoded(self) -> bytes:
        """The bytes that stand for it, on disk and in `placement`: never change them, sessions on disk depend on it."""
        return b"%b\x00%b" % (self.model.encode(), self.session.encode())

    @classmethod
    def decoded(cls, text: bytes) -> "Key":
        """The key that `encoded` gave."""
        model, _, session = text.partition(b"\x00")
        return cls(model.decode(), session.decode())


def session_id(value: int | str) -> str | None:
    """The id that a client means by `value`: a number is its decimal text; None for 0 and "", which mean no session.

    Raises BadSession.
    """
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise BadSession(f"a session id must be a string or a whole number, not {type(value).__name__}")
    if isinstance(value, int):
        if not 0 <= value < _LARGEST:
            raise BadSession(f"session id {value} must be from 1 to {_LARGEST - 1}")
        return str(value) if value else None
    try:
        encoded = value.encode()
    except UnicodeEncodeError:
        raise BadSession("a session id must be valid UTF-8") from None
    if len(encoded) > LONGEST_ID or any(byte < 0x20 or byte == 0x7F for byte in encoded):
        raise BadSession(
            f"a session id has at most {LONGEST_ID} bytes and no control characters; this one has {len(encoded)} bytes"
        )
    return value or None


def mint(ordinal: int) -> str:
    """A new id of a replica; nobody else ever makes the same."""
    return f"{ordinal}.{base64.b32encode(os.urandom(16)).decode().rstrip('=').lower()}"


def minted_ordinal(session: str) -> int | None:
    """The ordinal in an id that a replica made; None for an id that a client chose."""
    match = MINTED.fullmatch(session)
    return None if match is None else int(match[1])
