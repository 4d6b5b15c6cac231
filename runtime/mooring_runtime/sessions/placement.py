"""Where a session should be: a pure function of its key and the number of members.

Rendezvous hashing (Thaler and Ravishankar, 1998): each ordinal gets a score for the key, the highest wins. When an
ordinal is added, only those sessions move that it wins; nothing moves between the others. Never change this: the
sessions that are on disk stand where it has put them. The tests hold vectors.
"""

from collections.abc import Iterable
from hashlib import blake2b

from mooring_runtime.sessions.keys import Key, minted_ordinal


def place(key: Key, size: int) -> int:
    """The ordinal, below `size`, that should hold the session; a minted one's own while that is a member."""
    home = minted_ordinal(key.session)
    if home is not None and home < size:
        return home
    if size == 1:
        return 0
    start = blake2b(key.encoded() + b"\x00", digest_size=8)

    def score(ordinal: int) -> bytes:
        scored = start.copy()
        scored.update(b"%d" % ordinal)
        return scored.digest()

    return max(range(size), key=score)


def places(key: Key, sizes: Iterable[int]) -> list[int]:
    """The ordinals that may hold a session which was created under one of `sizes`; rising, without doubles."""
    return sorted({place(key, size) for size in sizes})
