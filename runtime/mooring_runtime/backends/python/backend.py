"""Runs a model's class. Whatever its code does, short of ending the process, is one failed request."""

import itertools
import logging
import re
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

from mooring_runtime.backends.base import Backend, LoadOptions, require_allowed
from mooring_runtime.backends.python.file import Context, discard, discarded_on_failure, import_class, translated
from mooring_runtime.backends.python.replies import arrays, joined
from mooring_runtime.backends.python.specs import Described, describe, with_initial
from mooring_runtime.errors import InferenceFailed, ModelInvalid, RequestError
from mooring_runtime.messages import NONE, Array, Parameter, Tensor

log = logging.getLogger(__name__)

_END: Any = object()
"""What `next` gives when a model has yielded its last reply."""


class PythonBackend(Backend):
    """One instance of a model's class, of a module that `sys.modules` has as `module`; `memory` if it tells none."""

    def __init__(self, model: Any, described: Described, memory: int, module: str) -> None:
        self._model = model
        self._module = module
        self._batch = bool(getattr(model, "batch", False))
        self.metadata, self.pairs = described
        self._states = [pair.name for pair in self.pairs]
        self.session_ended = self._tell_end if self.pairs and callable(getattr(model, "end", None)) else None
        self.device = str(getattr(model, "device", None) or "CPU")
        self.memory = getattr(model, "memory", memory)
        if not re.fullmatch(r"[A-Za-z]+(:\d+)?", self.device):
            raise ModelInvalid(f"{type(model).__name__}.device is {self.device!r}: it must be as in 'cpu' or 'cuda:0'")
        if type(self.memory) is not int or self.memory < 0:
            raise ModelInvalid(f"{type(model).__name__}.memory is {self.memory!r}: it must be a number of bytes")

    def infer(self, inputs: Mapping[str, Array], outputs: Sequence[str]) -> list[Array]:
        """Run once; see `Backend.infer`. Of a decoupled model the one reply, where it gives one."""
        if not self.metadata.decoupled:
            return self._answer(inputs, outputs, NONE)
        with closing(self._answers(inputs, outputs, NONE)) as answers:
            replies = list(itertools.islice(answers, 2))
        if len(replies) != 1:
            raise InferenceFailed(
                f"model '{self.metadata.name}' gave {'more than one reply' if replies else 'no reply'}: "
                "ask it by a method that streams (ModelStreamInfer, generate_stream)"
            )
        return replies[0]

    def stream(
        self, inputs: Mapping[str, Array], outputs: Sequence[str], parameters: Mapping[str, Parameter]
    ) -> Iterator[list[Array]]:
        """Each reply of a run; one of a model that is not decoupled. See `Backend.stream`."""
        if self.metadata.decoupled:
            return self._answers(inputs, outputs, parameters)
        return iter((self._answer(inputs, outputs, parameters),))

    def _answer(
        self, inputs: Mapping[str, Array], outputs: Sequence[str], parameters: Mapping[str, Parameter]
    ) -> list[Array]:
        samples = next(iter(inputs.values())).shape[0] if self._batch else None
        with self._guarded():
            returned = self._predict(inputs, parameters)
        return arrays(self.metadata, returned, outputs, samples)

    def _answers(
        self, inputs: Mapping[str, Array], outputs: Sequence[str], parameters: Mapping[str, Parameter]
    ) -> Generator[list[Array], None, None]:
        with self._guarded():
            running = iter(self._predict(inputs, parameters))
        try:
            while True:
                with self._guarded():
                    returned = next(running, _END)
                if returned is _END:
                    return
                yield arrays(self.metadata, returned, outputs, None)
        finally:
            if isinstance(running, Generator):
                with self._guarded():
                    running.close()

    def _predict(self, inputs: Mapping[str, Array], parameters: Mapping[str, Parameter]) -> Any:
        # Models write into what they are given, and what a request brought must stay: another run may need it.
        mine = {name: array if array.flags.writeable else array.copy() for name, array in inputs.items()}
        more = (dict(parameters),) if self.metadata.takes_parameters else ()
        if not self._states:
            return self._model.predict(mine, *more)
        state = {name: mine.pop(name) for name in self._states}
        return joined(self._model.predict(mine, state, *more), self._states)

    def _tell_end(self, session: str, state: Sequence[Tensor], cause: str) -> None:
        """Call the model's `end`; see `Backend.session_ended`."""
        model = self._model
        if model is None:
            return
        try:
            with self._guarded():
                model.end(session, {tensor.name: tensor.array.copy() for tensor in state}, cause)
        except RequestError as error:
            log.warning("model '%s' was told of the end of a session: %s", self.metadata.name, error)

    @contextmanager
    def _guarded(self) -> Iterator[None]:
        """Around the model's own code: what it raises fails the request. Also `sys.exit()`, which must not end us."""
        try:
            yield
        except RequestError:
            raise
        except BaseException as error:
            log.error("model '%s' raised", self.metadata.name, exc_info=error)
            raise InferenceFailed(f"model '{self.metadata.name}' failed: {type(error).__name__}: {error}") from error

    def close(self) -> None:
        """Call the model's `close`, when it has one, and forget its modules."""
        model, self._model = self._model, None
        if callable(getattr(model, "close", None)):
            with suppress(InferenceFailed), self._guarded():
                model.close()
        discard(self._module)


def load(file: Path, options: LoadOptions) -> Backend:
    """Load `model.py`: run it, make an instance of its class, and call its `load`.

    Raises UnsafeFormat unless `options` allow it, ModelInvalid with what the class lacks or its code raised.
    """
    require_allowed(file, "Python code", options)
    try:
        return _load(file, options)
    except ModelInvalid as error:
        if error.__cause__ is not None:
            log.error("%s", error, exc_info=error.__cause__)
        raise


def _load(file: Path, options: LoadOptions) -> Backend:
    loaded = import_class(file)
    with discarded_on_failure(loaded.module):
        described = describe(loaded.cls, options)
        context = Context(options.name, options.version, file.parent, options.threads, options.accelerator)
        with translated(file, f"{loaded.cls.__name__}()"):
            model = loaded.cls()
        if hasattr(model, "load"):
            with translated(file, f"{loaded.cls.__name__}.load(context)"):
                model.load(context)
        if described.pairs and callable(getattr(model, "initial_state", None)):
            with translated(file, f"{loaded.cls.__name__}.initial_state()"):
                first = model.initial_state()
            described = described._replace(pairs=with_initial(loaded.cls, described.pairs, first))
        # Its weights stand beside it; what they take in memory is theirs to tell, by an attribute `memory`.
        memory = sum(path.stat().st_size for path in file.parent.rglob("*") if path.is_file())
        return PythonBackend(model, described, memory, loaded.module)
