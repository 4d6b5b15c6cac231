"""States of an ONNX model on its device, by onnxruntime alone: the images with CUDA have no torch beside them.

onnxruntime's Python has no operation on tensors. But its runs can be bound to addresses: the rows that a run needs are
gathered by a small model of our own, and the next states are written by the model itself where they belong.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnxruntime as ort

from mooring_runtime.backends.arena import Sizes
from mooring_runtime.backends.onnx import graphs
from mooring_runtime.messages import DATATYPES, Array, StatePair

_ALIGNMENT = 256
"""Bytes of which the address of each tensor is a multiple. CUDA's allocations are, and kernels that read or write
several elements at once fail, or choose otherwise, where one is not."""


def step(pairs: Sequence[StatePair]) -> int:
    """Of how many rows a block must begin at a multiple, to be aligned in every pair."""
    return max(_ALIGNMENT // math.gcd(_ALIGNMENT, _row_bytes(pair)) for pair in pairs)


def _row_bytes(pair: StatePair) -> int:
    return int(np.prod(pair.shape)) * DATATYPES[pair.datatype].dtype.itemsize


def _aligned(size: int) -> int:
    return -(-size // _ALIGNMENT) * _ALIGNMENT


class _Tensor:
    """One pair's places, and buffers that the model reads from and writes to, from `address` on."""

    def __init__(self, pair: StatePair, number: int, sizes: Sizes, device: str, address: int) -> None:
        self.pair = pair
        self.number = number
        self.dtype = DATATYPES[pair.datatype].dtype
        self.device = device
        self._row = _row_bytes(pair)
        self._all = [sizes.staged + sizes.most, *pair.shape[1:]]
        self._ring = address
        self._given = self._ring + _aligned(self._all[0] * self._row)
        self._made = self._given + _aligned(sizes.most * self._row)
        self.end = self._made + _aligned(sizes.most * self._row)

    def within(self, rows: int) -> list[int]:
        """The shape in which the model has so many rows."""
        axis, sizes = self.pair.axis or 0, self.pair.shape[1:]
        return [*sizes[:axis], rows, *sizes[axis:]]

    def ring(self, binding: Any) -> None:
        """All rows are an input."""
        binding.bind_input(graphs.ring(self.number), self.device, 0, self.dtype, self._all, self._ring)

    def given(self, bind: Any, name: str, rows: int) -> None:
        """The rows that the model is given are an input or an output, as `bind` says, of that name."""
        bind(name, self.device, 0, self.dtype, self.within(rows), self._given)

    def made(self, bind: Any, name: str, rows: int) -> None:
        """So are those that the model has made."""
        bind(name, self.device, 0, self.dtype, self.within(rows), self._made)

    def place(self, binding: Any, name: str, start: int, rows: int) -> None:
        """An output of that name, with the sessions first, goes to places from `start` on."""
        address = self._ring + start * self._row
        binding.bind_output(name, self.device, 0, self.dtype, [rows, *self.pair.shape[1:]], address)


class OnnxMemory:
    """See `arena.Memory`. `device` is as onnxruntime calls it: `cuda`, or `cpu`.

    Each run ends when its device is done, as onnxruntime's runs do: none of them sees what another is still writing.
    """

    def __init__(self, session: Any, pairs: Sequence[StatePair], sizes: Sizes, device: str) -> None:
        taken = {argument.name for argument in session.get_inputs()}
        for pair in pairs:
            if pair.output in taken:
                # It would hand over what it was given, and never write to the place that the output is bound to.
                raise ValueError(f"onnxruntime does not write the state '{pair.output}', an input that the model gives")
        self._session = session
        self._device = device
        self._staged = sizes.staged
        self._options = ort.RunOptions()
        self._take = _small(graphs.take(pairs), device)
        self._put = _small(graphs.put(pairs), device)
        # Where sessions stand along another axis, what the model gives is not yet what is kept.
        self._moved = any(pair.axis for pair in pairs)
        self._tensors = {}
        room = _small(graphs.room(), device)
        self._places = self._reserved(room, sum(_Tensor(pair, 0, sizes, device, 0).end for pair in pairs))
        self._room = room  # Kept, and let go after what it has made: that is memory of its own.
        address = self._places.data_ptr()
        for number, pair in enumerate(pairs):
            tensor = self._tensors[pair.output] = _Tensor(pair, number, sizes, device, address)
            address = tensor.end

    def _reserved(self, room: Any, size: int) -> Any:
        """Bytes of the device, in one piece."""
        binding = room.io_binding()
        binding.bind_cpu_input(graphs.COUNT, np.array([size // 8]))
        binding.bind_output(graphs.ROOM, self._device)
        room.run_with_iobinding(binding, self._options)
        return binding.get_outputs()[0]

    def stage(self, rows: Mapping[str, Array]) -> None:
        """See `arena.Memory`."""
        binding = self._put.io_binding()
        for tensor in self._tensors.values():
            sent = rows[tensor.pair.input]
            if tensor.pair.axis:
                sent = np.ascontiguousarray(np.moveaxis(sent, 0, tensor.pair.axis))
            binding.bind_cpu_input(graphs.rows(tensor.number), sent)
            tensor.place(binding, graphs.kept(tensor.number), self._staged, len(rows[tensor.pair.input]))
        self._put.run_with_iobinding(binding, self._options)

    def read(self, places: Sequence[int]) -> list[Array]:
        """See `arena.Memory`."""
        values = zip(self._tensors.values(), self._gather(places).get_outputs(), strict=True)
        return [np.moveaxis(value.numpy(), tensor.pair.axis or 0, 0) for tensor, value in values]

    def run(
        self, inputs: Mapping[str, Array], places: Sequence[int], outputs: Sequence[str], start: int
    ) -> list[Array]:
        """See `arena.Memory`."""
        self._gather(places)
        count = len(places)
        binding = self._session.io_binding()
        for name, array in inputs.items():
            # Not by `ascontiguousarray`, which gives a scalar an axis.
            binding.bind_cpu_input(name, np.asarray(array, order="C"))
        for tensor in self._tensors.values():
            tensor.given(binding.bind_input, tensor.pair.input, count)
        for name in outputs:
            if name not in self._tensors:
                binding.bind_output(name, "cpu")
            elif self._moved:
                self._tensors[name].made(binding.bind_output, name, count)
            else:
                self._tensors[name].place(binding, name, start, count)
        self._session.run_with_iobinding(binding, self._options)
        kept = self._keep(start, count) if self._moved else {}
        values = zip(outputs, binding.get_outputs(), strict=True)
        return [kept[name] if name in kept else value.numpy() for name, value in values]

    def _gather(self, places: Sequence[int]) -> Any:
        """Take rows to where the model reads them."""
        binding = self._take.io_binding()
        binding.bind_cpu_input(graphs.PLACES, np.array(places, np.int64))
        for tensor in self._tensors.values():
            tensor.ring(binding)
            tensor.given(binding.bind_output, graphs.rows(tensor.number), len(places))
        self._take.run_with_iobinding(binding, self._options)
        return binding

    def _keep(self, start: int, count: int) -> dict[str, Array]:
        """Put what the model has made where it belongs; gives it by output."""
        binding = self._put.io_binding()
        for tensor in self._tensors.values():
            tensor.made(binding.bind_input, graphs.rows(tensor.number), count)
            tensor.place(binding, graphs.kept(tensor.number), start, count)
        self._put.run_with_iobinding(binding, self._options)
        return {name: value.numpy() for name, value in zip(self._tensors, binding.get_outputs(), strict=True)}


def _small(model: bytes, device: str) -> Any:
    """A session of one of our own models on the device, and nowhere else. Raises where it cannot run there."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4
    if device == "cpu":
        return ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    # On the CPU it would have the whole ring sent there and back in each run, without a word.
    options.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
    chosen = {"device_id": "0", "arena_extend_strategy": "kSameAsRequested"}
    return ort.InferenceSession(model, options, providers=[("CUDAExecutionProvider", chosen)], enable_fallback=0)
