"""States of a torch model on its device."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch

from mooring_runtime.backends.arena import Sizes
from mooring_runtime.backends.torch.arrays import DTYPES, to_array, to_tensor
from mooring_runtime.errors import InferenceFailed
from mooring_runtime.messages import Array, StatePair

if TYPE_CHECKING:
    from mooring_runtime.backends.torch.backend import TorchBackend

_PLAIN = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
"""By bytes of an element: the dtype under which rows are kept and moved. torch has not all operations for all of its
dtypes, and one that computes might not keep each bit."""


class TorchMemory:
    """See `arena.Memory`; all of it happens on the model's own stream, one after the other."""

    def __init__(self, backend: "TorchBackend", pairs: Sequence[StatePair], sizes: Sizes) -> None:
        self._backend = backend
        self._staged = sizes.staged
        self._pairs = {pair.output: pair for pair in pairs}
        with backend.running():
            self._rings = {pair.input: self._ring(pair, sizes) for pair in pairs}

    def _ring(self, pair: StatePair, sizes: Sizes) -> torch.Tensor:
        kind = _PLAIN[DTYPES[pair.datatype].itemsize]
        return torch.empty((sizes.staged + sizes.most, *pair.shape[1:]), dtype=kind, device=self._backend.on)

    def stage(self, rows: Mapping[str, Array]) -> None:
        """See `arena.Memory`."""
        with self._backend.running():
            for name, array in rows.items():
                ring = self._rings[name]
                sent = to_tensor(array, "").view(ring.dtype)
                ring[self._staged : self._staged + len(array)].copy_(sent)

    def read(self, places: Sequence[int]) -> list[Array]:
        """See `arena.Memory`."""
        with self._backend.running():
            where = self._where(places)
            return [to_array(self._rows(pair, where).to("cpu")) for pair in self._pairs.values()]

    def run(
        self, inputs: Mapping[str, Array], places: Sequence[int], outputs: Sequence[str], start: int
    ) -> list[Array]:
        """See `arena.Memory`."""
        backend = self._backend
        with backend.running():
            tensors = backend.given(inputs)
            where = self._where(places)
            for pair in self._pairs.values():
                rows = self._rows(pair, where)
                tensors[pair.input] = rows.movedim(0, pair.axis).contiguous() if pair.axis else rows
            results = backend.called(tensors)
            found = []
            for name in outputs:
                value, pair_or_none = results.get(name), self._pairs.get(name)
                if pair_or_none is None:
                    found.append(backend.array(name, value))
                else:
                    found.append(self._keep(pair_or_none, value, start, len(places)))
            return found

    def _where(self, places: Sequence[int]) -> torch.Tensor:
        return torch.tensor(places, dtype=torch.int64).to(self._backend.on)

    def _rows(self, pair: StatePair, where: torch.Tensor) -> torch.Tensor:
        """The rows of a pair at some places: a tensor of its own, which the model may write to."""
        return self._rings[pair.input].index_select(0, where).view(DTYPES[pair.datatype])

    def _keep(self, pair: StatePair, value: Any, start: int, count: int) -> Array:
        """Put a next state where it belongs; gives it in the form in which it is kept."""
        dtype, sizes = DTYPES[pair.datatype], pair.shape[1:]
        axis = pair.axis or 0
        shape = (*sizes[:axis], count, *sizes[axis:])
        if not isinstance(value, torch.Tensor) or value.dtype != dtype or value.shape != shape:
            raise InferenceFailed(f"the model gave no {dtype} {list(shape)} as output '{pair.output}'")
        ring = self._rings[pair.input]
        block = ring[start : start + count]
        block.copy_(value.movedim(axis, 0).resolve_conj().resolve_neg().contiguous().view(ring.dtype))
        return to_array(block.view(dtype).to("cpu"))
