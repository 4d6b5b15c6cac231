"""Header blocks of requests (RFC 7541, RFC 9113 section 8): from bytes to what a front end makes of them, once.

A client that asks the same again sends the same block: indices into the table, and literals that it does not want to
be remembered. Decoding it costs more than a small model does, so such blocks are looked up as a whole.
"""

from collections.abc import Callable
from typing import Generic, TypeVar

from mooring_runtime.frontends.grpc.field_table import Fields, FieldTable
from mooring_runtime.frontends.grpc.frames import Code, StreamFault

Head = TypeVar("Head")
"""What the fields of a request's headers are made into; immutable."""

_CACHED = 64
_LONGEST = 1024
"""Bytes of a block that is kept."""
_PSEUDO = frozenset({b":method", b":scheme", b":path", b":authority"})
_HOP = frozenset({b"connection", b"keep-alive", b"proxy-connection", b"transfer-encoding", b"upgrade"})


class HeadReader(Generic[Head]):
    """The table of one connection. `make` makes a Head of a request's fields, or raises StreamFault."""

    def __init__(self, limit: int, make: Callable[[Fields], Head]) -> None:
        """`limit`: bytes of all names and values together, and 32 for each, as the protocol counts."""
        self._make = make
        self._table = FieldTable(limit)
        self._known: dict[bytes, Head] = {}

    def head(self, block: bytes) -> Head:
        """The request of a block. Raises StreamFault, and ConnectionFault for what fields does."""
        head = self._known.get(block)
        if head is None:
            changes = self._table.changes
            head = self._make(self.fields(block))
            # To decode it again gives the same, until the table changes.
            if self._table.changes == changes and len(block) <= _LONGEST:
                if len(self._known) >= _CACHED:
                    self._known.clear()
                self._known[block] = head
        return head

    def fields(self, block: bytes) -> Fields:
        """Names and values. Raises ConnectionFault when they cannot be read: the tables then differ for ever."""
        changes = self._table.changes
        try:
            return self._table.read(block)
        finally:
            if self._table.changes != changes:  # The known blocks mean something else now.
                self._known.clear()


def check(fields: Fields) -> tuple[dict[bytes, bytes], dict[bytes, bytes]]:
    """The pseudo-headers and the other headers of a request; of a repeated header the values with commas between.

    Raises StreamFault for a request that is malformed by RFC 9113, section 8.
    """
    pseudo: dict[bytes, bytes] = {}
    others: dict[bytes, bytes] = {}
    for name, value in fields:
        if name[:1] == b":":
            if others or name in pseudo or name not in _PSEUDO:
                raise StreamFault(Code.PROTOCOL_ERROR, f"the pseudo-header {name!r} may not be there")
            pseudo[name] = value
            continue
        if (
            not name
            or name in _HOP
            or name != name.lower()
            or _unclean(name)
            or (name == b"te" and value != b"trailers")
        ):
            raise StreamFault(Code.PROTOCOL_ERROR, f"the header {name!r} may not be there")
        if _unclean(value):
            raise StreamFault(Code.PROTOCOL_ERROR, f"the header {name!r} holds a control character")
        others[name] = others[name] + b"," + value if name in others else value
    if not pseudo.get(b":path") or b":method" not in pseudo or b":scheme" not in pseudo:
        raise StreamFault(Code.PROTOCOL_ERROR, "a request needs :method, :scheme and :path")
    return pseudo, others


def _unclean(text: bytes) -> bool:
    return b"\0" in text or b"\r" in text or b"\n" in text
