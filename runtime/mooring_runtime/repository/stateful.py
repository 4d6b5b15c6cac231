"""A model with state as the scheduler runs it: the states of sessions stand beside each other along the first axis.

Around the backend, which knows of no session. Before a run it moves that axis to where the model has it and puts
windows before what clients sent; after it, it moves it back and takes the next windows.
"""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import MappingProxyType

import numpy as np

from mooring_runtime.backends.base import Backend, LoadOptions
from mooring_runtime.errors import InferenceFailed, ModelRefused
from mooring_runtime.messages import DATATYPES, Array, ModelMetadata, Parameter, StatePair, StateSchema, Tensor
from mooring_runtime.metrics import ModelStats
from mooring_runtime.repository.converter import StateConverter
from mooring_runtime.repository.held import Held
from mooring_runtime.scheduling.runs import NotPerSample

log = logging.getLogger(__name__)

EndHook = Callable[[str, Sequence[Tensor], str], None]
"""Told that a session has ended: its id, its last state and the cause. Blocks, and raises nothing."""


class Stateful(Backend):
    """`backend` as a model of `metadata`, which has the client's tensors and the state.

    `infer` takes the client's inputs and the states by `StatePair.name`, each as it is kept, of several sessions one
    behind the other; it gives the client's outputs and the next states by `StatePair.output`, in the same form.
    """

    def __init__(
        self,
        backend: Backend,
        metadata: ModelMetadata,
        converter: StateConverter | None = None,
        constants: Mapping[str, Array] = MappingProxyType({}),
    ) -> None:
        """`constants` are inputs of the backend that clients do not send."""
        assert metadata.state is not None
        self._backend = backend
        self._constants = constants
        self.metadata = metadata
        self.schema: StateSchema = metadata.state
        self.converter = converter
        self.session_ended: EndHook | None = backend.session_ended
        """What the model does when a session has ended; None: nothing."""
        self.device = backend.device
        self.memory = backend.memory
        self.arena: Held | None = None
        """Where states stay on the model's device between steps; None: nowhere."""
        self.lost = False
        """Whether they were to stay there, and cannot."""
        self.given = {pair.output: pair for pair in self.schema.pairs if not pair.window}
        """The pairs that are the model's own, by output."""
        self._windows = {pair.output: pair for pair in self.schema.pairs if pair.window}
        self._dtypes = {pair.output: DATATYPES[pair.datatype].dtype for pair in self.schema.pairs}
        self._counted = next((pair.name for pair in self.schema.pairs if pair.axis is not None), None)
        """A state whose first size is the number of sessions."""

    def infer(self, inputs: Mapping[str, Array], outputs: Sequence[str]) -> list[Array]:
        """Run once; see the class and `Backend.infer`."""
        feeds, windows = self.before(inputs, self.given)
        results = self._backend.infer(feeds, self.asked(outputs))
        return self.after(results, outputs, windows, self.given, self._sessions(inputs))

    def stream(
        self, inputs: Mapping[str, Array], outputs: Sequence[str], parameters: Mapping[str, Parameter]
    ) -> Iterator[list[Array]]:
        """`infer` with the client's parameters; the model gives one answer. See `Backend.stream`."""
        feeds, windows = self.before(inputs, self.given)
        for results in self._backend.stream(feeds, self.asked(outputs), parameters):
            yield self.after(results, outputs, windows, self.given, self._sessions(inputs))

    def keep_there(self, options: LoadOptions) -> None:
        """Let states stay on the model's device between steps, where `options` and the backend have room for them.

        Not those that grow, nor windows: their next value is not what the model gives, or has another size each time.
        After the warm-up, so that the model itself has the memory that its runs take. Raises nothing: a device that is
        full, or a framework that cannot do it, is told in the log, and the model runs as it does anywhere else.
        """
        pairs = [
            pair
            for pair in self.given.values()
            if pair.axis is not None and pair.datatype != "BYTES" and min(pair.shape) > 0
        ]
        if not pairs or not self.metadata.batched or not options.device_state_bytes:
            return
        try:
            arena = self._backend.hold(pairs, max(self.metadata.max_batch, 1), options)
        except Exception as error:  # Of every kind, as frameworks raise.
            told = f"{type(error).__name__}: {error}"
            log.error("model '%s' keeps no states on its device: %s", self.metadata.name, told)
            self.lost = True
            return
        if arena is not None:
            self.arena = Held(self, arena)
            self.memory += arena.size

    def tell(self, stats: ModelStats) -> None:
        """Let the numbers of the model tell of the states on its device, where some are or were to be."""
        if self.arena is not None:
            self.arena.told_to(stats)
        elif self.lost:
            stats.state_bytes = lambda: 0

    def close(self) -> None:
        """Close the backend, and the converter."""
        if self.converter is not None:
            self.converter.close()
        if self.arena is not None:
            self.arena.close()
        self._backend.close()

    def _sessions(self, inputs: Mapping[str, Array]) -> int:
        return 1 if self._counted is None else inputs[self._counted].shape[0]

    def asked(self, outputs: Sequence[str]) -> Sequence[str]:
        """What the model itself is asked for."""
        return [name for name in outputs if name not in self._windows] if self._windows else outputs

    def before(
        self, inputs: Mapping[str, Array], pairs: Mapping[str, StatePair]
    ) -> tuple[dict[str, Array], dict[str, Array]]:
        """(what the model is given, the next window by its output); `pairs`, by output, are those among `inputs`."""
        feeds = {**inputs, **self._constants}
        for pair in pairs.values():
            array = feeds[pair.name]
            # A view that nobody can write to: a model may write into its inputs, and this is what the last step left,
            # which must stay as it is if the run fails. Backends copy what they may not write to.
            array = np.ascontiguousarray(np.moveaxis(array, 0, pair.axis)) if pair.axis else array.view()
            array.flags.writeable = False
            feeds[pair.input] = array
        windows: dict[str, Array] = {}
        for pair in self._windows.values():
            window, sent = feeds.pop(pair.name), feeds[pair.input]
            if window.shape[:-1] != sent.shape[:-1]:
                raise ModelRefused(
                    f"input '{pair.input}' has shape {list(sent.shape)}: what came before it is kept in shape "
                    f"{list(window.shape)}, and all sizes but the last must be the same"
                )
            feeds[pair.input] = fed = np.concatenate((window, sent), axis=-1)
            windows[pair.output] = fed[..., -pair.window :].copy()  # Else all that was sent would stay in memory.
        return feeds, windows

    def after(
        self,
        results: Sequence[Array],
        outputs: Sequence[str],
        windows: Mapping[str, Array],
        pairs: Mapping[str, StatePair],
        sessions: int,
    ) -> list[Array]:
        """The outputs in the order named, states as they are kept; `pairs`, by output, are not so yet."""
        given = iter(results)
        found = []
        for name in outputs:
            if name in windows:
                found.append(windows[name])
                continue
            array = next(given)
            pair = pairs.get(name)
            found.append(array if pair is None else self._kept(pair, array, sessions))
        return found

    def _kept(self, pair: StatePair, array: Array, sessions: int) -> Array:
        """The next state as it is kept. Raises InferenceFailed where it is not what the schema says."""
        shape = array.shape
        if pair.axis and len(shape) > pair.axis:
            array = np.ascontiguousarray(np.moveaxis(array, pair.axis, 0))
        if array.dtype != self._dtypes[pair.output]:
            raise InferenceFailed(
                f"model '{self.metadata.name}' gave the state '{pair.output}' as {array.dtype}: its input "
                f"'{pair.input}' is {pair.datatype}"
            )
        if pair.axis is None:
            fits = pair.takes(array.shape)
        else:
            fits = len(array.shape) == len(pair.shape) and pair.takes((1, *array.shape[1:]))
            if fits and array.shape[0] != sessions:
                told = f"a run of {sessions} sessions gave the state '{pair.output}' in shape {list(shape)}"
                raise NotPerSample(told) if sessions > 1 else InferenceFailed(f"model '{self.metadata.name}': {told}")
        if not fits:
            raise InferenceFailed(
                f"model '{self.metadata.name}' gave the state '{pair.output}' in shape {list(shape)}: its input "
                f"'{pair.input}' does not take that; as it is kept it must have shape {list(pair.shape)}, "
                "where -1 is any size"
            )
        return array
