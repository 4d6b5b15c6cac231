"""HPACK: what another implementation writes is read, and what it refuses is refused."""

from random import Random

import pytest
from hpack import Decoder, Encoder
from hpack.exceptions import HPACKError
from hypothesis import given
from hypothesis import strategies as st

from mooring_runtime.frontends.grpc.field_table import FieldTable
from mooring_runtime.frontends.grpc.frames import Code, ConnectionFault
from mooring_runtime.frontends.grpc.headers import HeadReader
from tests.support import mutations

NAMES = st.sampled_from([b":path", b"te", b"grpc-timeout", b"traceparent", b"x-long"]) | st.binary(
    min_size=1, max_size=9
)
VALUES = st.sampled_from([b"trailers", b"/", b"99m"]) | st.binary(max_size=60) | st.binary(min_size=900, max_size=1500)
BLOCKS = st.lists(
    st.tuples(
        st.lists(st.tuples(NAMES, VALUES, st.booleans()), max_size=8), st.booleans(), st.none() | st.integers(0, 4096)
    ),
    max_size=12,
)


@given(BLOCKS)
def test_blocks_of_another_implementation(
    blocks: list[tuple[list[tuple[bytes, bytes, bool]], bool, int | None]],
) -> None:
    """Each block depends on those before it: fields that are remembered or not, and tables that shrink and grow."""
    encoder, table = Encoder(), FieldTable(2**20)
    for fields, huffman, size in blocks:
        if size is not None:
            encoder.header_table_size = size
        block = bytes(encoder.encode(fields, huffman=huffman))
        assert table.read(block) == [(name, value) for name, value, _ in fields]


def test_what_is_broken_is_refused_as_another_implementation_does() -> None:
    random = Random(4)
    for _ in range(3000):
        encoder, theirs, ours = Encoder(), Decoder(max_header_list_size=2000), FieldTable(2000)
        for number in range(4):
            fields = [
                (b":path", b"/a/b"),
                (b"x", random.randbytes(number)),
                (b"grpc-timeout", b"%dm" % random.randrange(99)),
            ]
            block = bytes(encoder.encode(fields, huffman=random.random() < 0.5))
            if random.random() < 0.4:
                block = mutations.stream(random, block)
            try:
                expected = [tuple(field) for field in theirs.decode(block, raw=True)]
            except HPACKError:
                with pytest.raises(ConnectionFault) as caught:
                    ours.read(block)
                assert caught.value.code == Code.COMPRESSION_ERROR
                break
            assert ours.read(block) == expected


def test_a_table_that_changes_forgets_what_blocks_meant() -> None:
    encoder = Encoder()
    made: list[object] = []

    def make(fields: list[tuple[bytes, bytes]]) -> object:
        made.append(fields)
        return tuple(fields)

    reader: HeadReader[object] = HeadReader(2000, make)
    fields = [(b":path", b"/a", True), (b"x", b"1", True)]  # True: not to be remembered.
    block = bytes(encoder.encode(fields))
    assert reader.head(block) is reader.head(block)
    assert len(made) == 1
    encoder.encode([])
    changing = bytes(encoder.encode([(b"y", b"2", False)]))
    reader.fields(changing)
    assert reader.head(block) == ((b":path", b"/a"), (b"x", b"1"))
    assert len(made) == 2
