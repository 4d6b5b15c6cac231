"""Which state has its image in which slot. Pure: it sees arrays only as objects, and never what is in them."""

from weakref import ReferenceType, ref

from mooring_runtime.messages import Array

State = tuple[Array, ...]
"""The arrays of one session, in an order that is always the same."""


class Index:
    """A ring of `slots`; blocks begin at multiples of `step` and never go over the end.

    An image is found by the identity of its arrays, and not by their values. An array that is gone may leave its `id`
    to another one, so each is held by a weak reference too: only the same object is ever found.
    """

    def __init__(self, slots: int, step: int = 1) -> None:
        self.slots = slots
        self._step = step
        self._head = 0
        self._found: dict[int, tuple[int, tuple[ReferenceType[Array], ...]]] = {}
        """(slot, what is there) by the `id` of a state's first array."""
        self._keys: dict[int, int] = {}
        """That `id` by slot; each of the two tables is the other one turned around."""

    def __len__(self) -> int:
        """Images that are known, also of states that nobody has any more."""
        return len(self._found)

    def empty(self) -> "Index":
        """Another one of the same size, which knows none."""
        return Index(self.slots, self._step)

    def find(self, state: State) -> int | None:
        """The slot of a state; None: it has none."""
        entry = self._found.get(id(state[0]))
        if entry is None:
            return None
        slot, arrays = entry
        for known, array in zip(arrays, state, strict=True):
            if known() is not array:
                return None
        return slot

    def reserve(self, count: int) -> int:
        """The first of `count` slots in a row, at most `slots`, whose images are forgotten from now on.

        The same block is given again until `learn` has taken it: a run that fails uses up nothing.
        """
        start = -(-self._head // self._step) * self._step
        if start + count > self.slots:
            start = 0
        for slot in range(start, start + count):
            key = self._keys.pop(slot, None)
            if key is not None:
                del self._found[key]
        return start

    def learn(self, start: int, states: list[State]) -> None:
        """The slots from `start` on, which were reserved, have these states now."""
        for slot, state in enumerate(states, start):
            key = id(state[0])
            before = self._found.get(key)
            if before is not None:  # The array of that `id` is gone, and its slot's turn is still to come.
                del self._keys[before[0]]
            self._found[key] = slot, tuple([ref(array) for array in state])
            self._keys[slot] = key
        self._head = start + len(states)
