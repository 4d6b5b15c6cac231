"""Header blocks of requests (RFC 7541, RFC 9113 section 8): from bytes to what a front end makes of them, once.

A client that asks the same again sends the same block: indices into the table, and literals that it does not want to
be remembered. Decoding it costs more than a small model does, so such blocks are looked up as a whole.
"""

from collections.abc import Callable
from typing import Generic, TypeVar

from hpack import Decoder
from hpack.exceptions import HPACKError

from mooring_runtime.frontends.grpc.frames import Code, ConnectionFault, StreamFault

Head = TypeVar("Head")
"""What the fields of a request's headers are made into; immutable."""
Fields = list[tuple[bytes, bytes]]

_CACHED = 64
_PSEUDO = frozenset({b":method", b":scheme", b":path", b":authority"})
_HOP = frozenset({b"connection", b"keep-alive", b"proxy-connection", b"transfer-encoding", b"upgrade"})


class HeadReader(Generic[Head]):
    """The table of one connection. `make` makes a Head of a request's fields, or raises StreamFault."""

    def __init__(self, limit: int, make: Callable[[Fields], Head]) -> None:
        """`limit`: bytes of all names and values together, and 32 for each, as the protocol counts."""
        self._make = make
        self._decoder = Decoder(max_header_list_size=limit)
        self._known: dict[bytes, Head] = {}

    def head(self, block: bytes) -> Head:
        """The request of a block. Raises StreamFault, and ConnectionFault for what fields does."""
        head = self._known.get(block)
        if head is None:
            head = self._make(self.fields(block))
            if _keeps_table(block):  # To decode it again would give the same, until another block changes the table.
                if len(self._known) >= _CACHED:
                    self._known.clear()
                self._known[block] = head
        return head

    def fields(self, block: bytes) -> Fields:
        """Names and values. Raises ConnectionFault when they cannot be read: the tables then differ for ever."""
        if not _keeps_table(block):  # Then the known blocks mean something else.
            self._known.clear()
        try:
            return list(self._decoder.decode(block, raw=True))  # raw: bytes, not str.
        except HPACKError as error:
            raise ConnectionFault(Code.COMPRESSION_ERROR, f"a header block cannot be read: {error}") from None


def _keeps_table(block: bytes) -> bool:
    """Whether decoding a block leaves the table as it is; false also for what cannot be read to its end."""
    offset, size = 0, len(block)
    while offset < size:
        first = block[offset]
        if first & 0x80:  # An index.
            _, offset = _integer(block, offset, 0x7F)
        elif first & 0x60:  # A literal to be remembered, or a new size of the table.
            return False
        else:
            index, offset = _integer(block, offset, 0x0F)
            for _ in range(1 if index else 2):  # The name, unless it is an index, and the value.
                length, offset = _integer(block, offset, 0x7F)
                offset += length
    return offset == size


def _integer(block: bytes, offset: int, mask: int) -> tuple[int, int]:
    """An integer with its prefix (RFC 7541, section 5.1), and the offset behind it; beyond the end for none."""
    beyond = len(block) + 1
    if offset >= len(block):
        return 0, beyond
    value = block[offset] & mask
    offset += 1
    if value < mask:
        return value, offset
    for shift in range(0, 28, 7):
        if offset >= len(block):
            return 0, beyond
        byte = block[offset]
        offset += 1
        value += (byte & 127) << shift
        if byte < 128:
            return value, offset
    return 0, beyond


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
