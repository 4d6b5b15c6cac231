"""The nouns of the model: what a world is made of, and the scenarios that are explored."""

from typing import NamedTuple, TypeVar

HELD, MOVING, MOVED, TORN = "held", "moving", "moved", "torn"
# What became of an unnumbered request; the last three words end its client's wait.
UNSENT, ON_WAY, BEGUN, ACKED = "unsent", "on its way", "begun", "acknowledged"
LATE, UNKNOWN = "given up, on its way", "given up"

ASKING = -1
"""Of `Replica.proved`: the others are being asked."""

T = TypeVar("T")


class Scenario(NamedTuple):
    """What happens to one session."""

    sizes: tuple[int, ...]
    """The number of members, in the order in which the user asks for them."""
    ranking: tuple[int, ...]
    """The ordinals by falling rendezvous score of the id."""
    steps: int
    minted: bool = False
    """A minted id: its home is ranking[0] of the first size, it exists at the start, nobody else may create it."""
    born: bool = False
    """A minted id that does not exist at the start: ranking[0] mints it when it is a member."""
    ends: bool = False
    """The last step ends the session, and its record is dropped some time later."""
    numbered: bool = True
    """Else every request is sent once, and passed on only after an answer that it was not applied."""
    handed: bool = False
    """The first resize has come so far that the receiver has the session, and the sender has not heard so."""
    lost: int = -1
    """The ordinal whose volume may be lost, once; -1: none. See `losses`."""
    tears: int = -1
    """The ordinal whose copy may go bad on its disk, once; -1: none. See `torn`."""


SCENARIOS = {
    "grow": Scenario((2, 3), (2, 1, 0), 3),
    "shrink": Scenario((3, 1), (2, 1, 0), 3),
    "shrink-cancelled": Scenario((2, 1, 2), (1, 0), 3),
    "grow-cancelled": Scenario((2, 3, 2), (2, 1, 0), 2),
    "grow-then-shrink": Scenario((2, 3, 1), (2, 1, 0), 2),
    "shrink-by-steps": Scenario((3, 2, 1), (2, 1, 0), 2),
    "minted-away-and-home": Scenario((3, 1, 3), (2, 1, 0), 2, minted=True),
    "minted-while-growing": Scenario((2, 3, 2), (2, 1, 0), 2, minted=True, born=True),
    "minted-and-sent-away": Scenario((1, 2, 1), (1, 0), 2, minted=True, born=True),
    "up-up-down": Scenario((1, 2, 3, 2), (2, 1, 0), 2),
    "up-down-up": Scenario((2, 3, 1, 3), (1, 2, 0), 2),
    "there-and-back-twice": Scenario((1, 2, 1, 2), (1, 0), 2),
    "ended": Scenario((1, 2, 1), (1, 0), 2, ends=True),
    "unnumbered": Scenario((1, 2, 1), (1, 0), 3, numbered=False),
    "lost-while-growing": Scenario((1, 2), (1, 0), 2, lost=1),
    "lost-while-shrinking": Scenario((2, 1), (1, 0), 2, lost=0),
    "lost-and-moved-on": Scenario((1, 3, 2), (2, 1, 0), 1, lost=2),
    "lost-twice-sent-there": Scenario((1, 3, 2, 3), (2, 1, 0), 1, minted=True, handed=True, lost=2),
    "torn-while-growing": Scenario((1, 2), (1, 0), 2, tears=1),
    "torn-while-leaving": Scenario((2, 1), (1, 0), 2, tears=1),
    "torn-and-moved-on": Scenario((1, 3, 2), (2, 1, 0), 1, tears=2),
    "torn-twice-sent-there": Scenario((1, 3, 2, 3), (2, 1, 0), 1, minted=True, handed=True, tears=2),
}


class Record(NamedTuple):
    """One membership record of the operator."""

    epoch: int
    size: int
    past: tuple[int, ...]
    """Earlier sizes under which some replica may still hold a session."""
    lost: int = 0
    """Stores of `Scenario.lost` that were given up: it must have the store of this number."""


class Copy(NamedTuple):
    """What one replica has on disk about the session."""

    phase: str
    since: int
    """The epoch under which this replica created or received it."""
    log: tuple[int, ...] = ()
    """One entry a step: who applied it, or which request it was. Stands for the tensors and for the stored replies."""
    to: int = -1
    """Of `moving`: the receiver."""
    known: int = -1
    """-1: repeats are recognised by len(log); else by this count (mutation no-dedupe-shipped)."""
    store: int = 0
    """Of `moving`: the number of the receiver's store."""
    mark: bool = False
    """Of `moved`: what was torn here was dropped under the epoch `since`."""


class Replica(NamedTuple):
    """One of them; all but `busy` survives a crash."""

    record: int = -1
    """Index of the adopted record; -1: none yet."""
    copy: Copy | None = None
    busy: tuple[object, ...] = ()
    """("create", record, request) or ("step", number, request); the request of unnumbered ones only."""
    store: int = 0
    """The number of its volume: grows when one is lost."""
    heard: frozenset[int] = frozenset()
    """Who has said, since its copy's receiver is lost or has dropped it, that it has nothing newer; forgotten at a
    crash too."""
    proved: int = 0
    """The epoch under which all have said so of a copy that its receiver has dropped; forgotten as `heard` is."""


Take = tuple[int, int, int, int, tuple[int, ...], int, int]
"""To, from, record, since, log, the store that it is for, the epoch `proved`."""
Told = tuple[str, int, int, int, int]
"""Word, to, from, since, epoch."""


class World(NamedTuple):
    """Everything at one moment."""

    records: tuple[Record, ...]
    """All records ever sent, oldest first."""
    stored: int
    """Index of the record in the operator's ConfigMap."""
    wish: int
    """Index into scenario.sizes."""
    clean: int
    """Bit per replica: it reported under the stored record that it holds nothing foreign."""
    replicas: tuple[Replica, ...]
    absent: frozenset[tuple[int, int]]
    """(epoch, replica): "I hold no copy and have adopted this epoch"."""
    takes: frozenset[Take]
    answers: frozenset[Told]
    acked: tuple[int, ...]
    """What the client's replies said, one entry a step."""
    top: int
    """Steps ever committed (a ghost: no replica sees it)."""
    gone: bool
    """Ended and dropped."""
    requests: tuple[str, ...]
    """Unnumbered only: what became of each request, in the words above."""
    torn: bool = False
    """The copy that may go bad has done so."""


class Violation(Exception):  # noqa: N818 - named by what happened
    """An invariant does not hold."""


def put(world: World, ordinal: int, replica: Replica) -> World:
    """The world with another replica in one place."""
    return world._replace(replicas=swap(world.replicas, ordinal, replica))


def swap(items: tuple[T, ...], index: int, item: T) -> tuple[T, ...]:
    """The items with another one in one place."""
    return (*items[:index], item, *items[index + 1 :])
