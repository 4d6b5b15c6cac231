"""Shows, before a model is served, that it gives the same with its states on its device as without.

Kernels, copies and the order of both are the device's, so it is shown on the very one that will serve: no test on
another machine can. Equal is what has the same bits. A model that draws numbers at random, or whose kernels do not
repeat themselves, cannot show it; it loses nothing but the time that states on the device would save. One that takes no
states but those that sessions begin with shows less: where all are zeros, a mix-up of two of them changes nothing.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from mooring_runtime.messages import DATATYPES, Array, StatePair
from mooring_runtime.repository.held import Held
from mooring_runtime.repository.stateful import Stateful

_SESSIONS = 2
"""In one run: that one gets the state of another shows from two on, and a warm-up should take no more than it must."""
_State = Mapping[str, Array]
"""Of one session, by `StatePair.name`."""


def prove(stateful: Stateful, sample: Mapping[str, Array] | None) -> None:
    """Give up the states on the device, and say so, unless runs with them are runs without. Blocks; raises nothing.

    `sample` are the client's tensors of one that the model takes, as its warm-up has found out; None: it took none.
    Some seven runs. What they leave on the device is forgotten.
    """
    held = stateful.arena
    if held is None:
        return
    if sample is None:
        fault: str | None = "the model has had no warm-up that went well, so nothing shows that they are right there"
    else:
        try:
            fault = _Proof(stateful, held, sample).fault()
        except Exception as error:  # Of every kind, as frameworks raise.
            fault = f"to compare a run with states there and one without failed: {type(error).__name__}: {error}"
    if fault is not None:
        held.give_up(fault)
    else:
        held.arena.forget()


class _Proof:
    def __init__(self, stateful: Stateful, held: Held, sample: Mapping[str, Array]) -> None:
        self._stateful = stateful
        self._held = held
        metadata, schema = stateful.metadata, stateful.schema
        self._count = min(held.most, _SESSIONS)
        self._inputs = {name: np.repeat(array[:1], self._count, axis=0) for name, array in sample.items()}
        self._outputs = metadata.output_names + tuple(
            name for name in schema.outputs if name not in metadata.output_names
        )

    def fault(self) -> str | None:
        """What is wrong with runs there; None: nothing. Raises what a run raises."""
        states, further = self._begun()
        for _ in range(2):
            made = self._there(states)
            if isinstance(made, str):
                return made
            results, after = made
            usual = self._usual(states)
            if (output := self._differing(results, usual)) is not None:
                return self._why(output, states, usual)
            # So it is in service: one that is there, in another place than before, beside one that is sent.
            states = [after[-1], *[self._sent(new, left) for new, left in zip(further, after[:-1], strict=True)]]
        return None

    def _begun(self) -> tuple[list[_State], list[_State]]:
        """A state for each session, and for all but one once more.

        No two are alike if the model takes that: zeros would not show who got whose, nor what is left of a run before.
        """
        random = np.random.default_rng(0)
        pairs = self._stateful.schema.pairs
        first = {pair.name: pair.first(DATATYPES[pair.datatype].dtype) for pair in pairs}

        def draw(pair: StatePair) -> Array:
            array = first[pair.name]
            sizes: list[int] = list(array.shape)
            if pair.datatype == "BF16":  # The bits of what is less than 1.
                return random.integers(0, 0x3F80, sizes, np.uint16)
            # What is no fraction may be an index, which has a bound that is not known.
            return random.random(sizes).astype(array.dtype) if array.dtype.kind == "f" else array

        drawn: list[_State] = [{pair.name: draw(pair) for pair in pairs} for _ in range(2 * self._count - 1)]
        try:
            self._usual(drawn[: self._count])
        except Exception:  # Whatever a model raises at states that no session has.
            drawn = [first] * len(drawn)
        return drawn[: self._count], drawn[self._count :]

    def _sent(self, new: _State, left: _State) -> _State:
        """A new state but for what is not held there: that may have grown, and is of one size in a run."""
        return {name: new[name] if name in self._held.inputs else array for name, array in left.items()}

    def _usual(self, states: Sequence[_State]) -> list[Array]:
        return self._stateful.infer({**self._inputs, **_joined(states)}, self._outputs)

    def _there(self, states: Sequence[_State]) -> tuple[list[Array], list[_State]] | str:
        """(the results, the next state of each session) of a run with states on the device, or what is wrong."""
        held, outputs = self._held, self._outputs
        there = {name: [state[name] for state in states] for name in held.inputs}
        others = {name: array for name, array in _joined(states).items() if name not in there}
        results = held.infer({**self._inputs, **others}, there, outputs, self._count)
        # Before anything else runs there: they may be views.
        results = [array.copy() for array in results]
        parts = [[array[place : place + 1].copy() for array in results] for place in range(self._count)]
        held.learn(outputs, parts)
        if not held.arena.shown(outputs, parts):
            return "what a run left there is not what it gave"
        pairs = self._stateful.schema.pairs
        after: list[_State] = [{pair.name: part[outputs.index(pair.output)] for pair in pairs} for part in parts]
        return results, after

    def _differing(self, one: Sequence[Array], other: Sequence[Array]) -> str | None:
        """The first output of two runs that is not the same."""
        for name, left, right in zip(self._outputs, one, other, strict=True):
            if (left.dtype, left.shape, left.tobytes()) != (right.dtype, right.shape, right.tobytes()):
                return name
        return None

    def _why(self, output: str, states: Sequence[_State], usual: Sequence[Array]) -> str:
        again = self._differing(usual, self._usual(states))
        if again is None:
            return f"output '{output}' of a run with states there differs from that of the same run without"
        return (
            f"two runs of the same without them differ in output '{again}': the model draws at random, or its kernels "
            "do not repeat themselves, so nothing shows that states are right there"
        )


def _joined(states: Sequence[_State]) -> dict[str, Array]:
    return {name: np.concatenate([state[name] for state in states]) for name in states[0]}
