"""HPACK of RFC 7541, read: a block of bytes becomes names and values, and changes the table that both sides keep.

The library `hpack` knows the static table and Huffman's code; what it takes to walk through a block, 50 us for the
headers of one call, is too much where a trace header or a deadline makes each block differ from the last.
"""

from collections import deque

from hpack.exceptions import HPACKError
from hpack.huffman_table import decode_huffman
from hpack.table import HeaderTable

from mooring_runtime.frontends.grpc.frames import Code, ConnectionFault

Fields = list[tuple[bytes, bytes]]

_STATIC: tuple[tuple[bytes, bytes], ...] = ((b"", b""), *HeaderTable.STATIC_TABLE)
_OWN = len(_STATIC)
"""Index of the newest entry of the table that changes."""
_CAPACITY = 4096
"""Bytes of that table at most: the protocol's own default, so that it need not be told."""
_OVERHEAD = 32
"""Bytes that each entry counts beside its text."""


class FieldTable:
    """The table of one direction of one connection. `changes` counts what was done to it."""

    def __init__(self, limit: int) -> None:
        """`limit`: bytes of the fields of one block, with 32 for each."""
        self._limit = limit
        self._own: deque[tuple[bytes, bytes]] = deque()
        self._size = 0
        self._capacity = _CAPACITY
        self.changes = 0

    def read(self, block: bytes) -> Fields:
        """The fields of a whole block, in order. Raises ConnectionFault when it cannot be read, or holds too much."""
        try:
            return self._read(block)
        except (IndexError, HPACKError) as error:
            raise _fault(f"a header block cannot be read: {error}") from None

    def _read(self, block: bytes) -> Fields:
        fields: Fields = []
        offset, size, total = 0, len(block), 0
        while offset < size:
            first = block[offset]
            if first & 0x80:  # An index.
                index = first & 0x7F
                offset += 1
                if index == 0x7F:
                    index, offset = _rest(block, offset, index)
                if not index:
                    raise _fault("a header block points at entry 0 of its table")
                field = _STATIC[index] if index < _OWN else self._own[index - _OWN]
            elif first & 0x40:  # A literal that is remembered.
                field, offset = self._literal(block, offset, 0x3F)
                self._remember(field)
            elif first & 0x20:  # A new size of the table.
                if fields:
                    raise _fault("a header block changes the size of its table behind a field")
                capacity, offset = _integer(block, offset, 0x1F)
                if capacity > _CAPACITY:
                    raise _fault(f"a header block wants a table of {capacity} bytes, the limit is {_CAPACITY}")
                self._resize(capacity)
                continue
            else:
                field, offset = self._literal(block, offset, 0x0F)
            total += len(field[0]) + len(field[1]) + _OVERHEAD
            if total > self._limit:
                raise _fault(f"the headers of a request have over {self._limit} bytes")
            fields.append(field)
        return fields

    def _literal(self, block: bytes, offset: int, mask: int) -> tuple[tuple[bytes, bytes], int]:
        index, offset = _integer(block, offset, mask)
        if index:
            name = (_STATIC[index] if index < _OWN else self._own[index - _OWN])[0]
        else:
            name, offset = _text(block, offset)
        value, offset = _text(block, offset)
        return (name, value), offset

    def _remember(self, field: tuple[bytes, bytes]) -> None:
        self.changes += 1
        size = len(field[0]) + len(field[1]) + _OVERHEAD
        self._shrink(self._capacity - size)
        if size <= self._capacity:  # A larger one empties the table, and is no error.
            self._own.appendleft(field)
            self._size += size

    def _resize(self, capacity: int) -> None:
        self.changes += 1
        self._capacity = capacity
        self._shrink(capacity)

    def _shrink(self, size: int) -> None:
        own = self._own
        while own and self._size > size:
            name, value = own.pop()
            self._size -= len(name) + len(value) + _OVERHEAD


def _integer(block: bytes, offset: int, mask: int) -> tuple[int, int]:
    """An integer in the low bits of a byte and, where it is larger, of those behind it; and the offset behind it."""
    value = block[offset] & mask
    offset += 1
    return (value, offset) if value < mask else _rest(block, offset, value)


def _rest(block: bytes, offset: int, value: int) -> tuple[int, int]:
    for shift in range(0, 28, 7):
        byte = block[offset]
        offset += 1
        value += (byte & 127) << shift
        if byte < 128:
            return value, offset
    raise _fault("a header block holds a number of over four bytes")


def _text(block: bytes, offset: int) -> tuple[bytes, int]:
    packed = block[offset] & 0x80
    length, offset = _integer(block, offset, 0x7F)
    end = offset + length
    if end > len(block):
        raise _fault("a header block ends within a field")
    text = block[offset:end]
    return (bytes(decode_huffman(text)) if packed else text), end


def _fault(text: str) -> ConnectionFault:
    return ConnectionFault(Code.COMPRESSION_ERROR, text)
