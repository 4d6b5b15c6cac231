"""What makes the state of another version into that of this one: `convert.onnx` or `convert.py`, beside the model."""

from collections.abc import Callable, Mapping, Sequence

from mooring_runtime.errors import InferenceFailed
from mooring_runtime.messages import DATATYPES, Array, StateSchema, Tensor

Convert = Callable[[Mapping[str, Array], str], Mapping[str, Array]]
"""Old tensors by name, and the model's version that made them, to new ones by name. Raises InferenceFailed."""


class StateConverter:
    """Makes states of `schema`. Calls of it block, and come one at a time."""

    def __init__(
        self,
        schema: StateSchema,
        convert: Convert,
        *,
        takes: Sequence[str] = (),
        close: Callable[[], None] = lambda: None,
    ) -> None:
        """`takes` are the fingerprints and model versions whose states it takes; none: it tries all."""
        self._schema = schema
        self._convert = convert
        self._takes = frozenset(takes)
        self.close = close

    def takes(self, fingerprint: str, version: str) -> bool:
        """Whether it is meant for states of this schema, made by this version of the model."""
        return not self._takes or fingerprint in self._takes or version in self._takes

    def __call__(self, state: Sequence[Tensor], fingerprint: str, version: str) -> tuple[Tensor, ...]:
        """The state in `schema`, of one made under another. Raises InferenceFailed with what does not fit.

        A tensor that the converter does not give, and the old state has in the same form, is carried over.
        """
        if not self.takes(fingerprint, version):
            raise InferenceFailed(
                f"the converter takes states of {', '.join(sorted(self._takes))} only: this one has the schema "
                f"{fingerprint} and was made by version {version}; name either in state.converter.from of mooring.json"
            )
        old = {tensor.name: tensor for tensor in state}
        given = self._convert({tensor.name: tensor.array for tensor in state}, version)
        found = []
        for pair in self._schema.pairs:
            array = given.get(pair.output, given.get(pair.name))
            if array is None:
                carried = old.get(pair.name)
                if carried is None or carried.datatype != pair.datatype or not pair.takes(carried.array.shape):
                    raise InferenceFailed(
                        f"the converter gave no '{pair.name}', and the old state has none of {pair.datatype} "
                        f"{list(pair.shape)}; it gave {', '.join(given) or 'nothing'}"
                    )
                found.append(carried)
                continue
            if array.dtype != DATATYPES[pair.datatype].dtype or not pair.takes(array.shape):
                raise InferenceFailed(
                    f"the converter gave '{pair.name}' as {array.dtype} {list(array.shape)}: it must be "
                    f"{pair.datatype} {list(pair.shape)}, where -1 is any size"
                )
            found.append(Tensor(pair.name, pair.datatype, array))
        return tuple(found)
