"""The one path of a request, whatever protocol brought it: admit -> schedule -> backend -> reply.

A front end gives a function that decodes its bytes and one that takes the answer; everything that decides, counts and
refuses stands here. All of it happens on the event loop; only the run itself may be on the model's thread.
"""

import logging
import time
from collections.abc import Callable, Iterable

from mooring_runtime.errors import Cancelled, InferenceFailed, InvalidRequest, ModelNotReady, QueueFull, RequestError
from mooring_runtime.messages import Array, InferRequest, InferResponse, ModelMetadata, Tensor
from mooring_runtime.repository import Model, Repository, State
from mooring_runtime.scheduling import Outcome, Ticket

log = logging.getLogger(__name__)

Decode = Callable[[ModelMetadata], InferRequest]
"""Makes the request for a model out of whatever the protocol brought; raises InvalidRequest."""
Reply = Callable[[InferResponse | RequestError], None]
"""Takes the answer; called exactly once."""


class DataPlane:
    """Takes requests for the models of `repository`; `limit` bounds those that wait or run, over all models."""

    def __init__(self, repository: Repository, limit: int, clock: Callable[[], float] = time.perf_counter) -> None:
        self._repository = repository
        self._limit = limit
        self.clock = clock
        self.pending = 0
        """Requests admitted and not yet answered."""
        self.draining = False
        """The process is about to stop: not ready, and still serving."""

    def infer(self, name: str, version: str | None, decode: Decode, reply: Reply) -> Ticket | None:
        """Answer one request by `reply`; the ticket, when there is one, takes it back while it waits.

        The bound is checked before the body is decoded, so that a server with too much to do refuses cheaply.
        """
        arrived = self.clock()
        try:
            model = self._repository.find(name, version)
        except RequestError as error:
            reply(error)
            return None
        stats = model.stats
        stats.received += 1
        try:
            executor = model.executor
            if self.pending >= self._limit:
                raise QueueFull(f"model '{name}' has {self.pending} requests waiting, as many as MOORING_QUEUE allows")
            metadata = model.metadata
            request = decode(metadata)
            feeds, outputs, size = check(metadata, request)
        except RequestError as error:
            stats.rejected[error.cause] += 1
            stats.failures["REJECTED"] += 1
            reply(error)
            return None
        self.pending += 1
        flight = _Flight(self, model, request, outputs, reply, arrived)
        return executor.submit((feeds, outputs), size, flight.land)

    def metadata(self, name: str, version: str | None) -> ModelMetadata:
        """What a model takes and gives. Raises UnknownModel, ModelNotReady."""
        return self._repository.find(name, version).metadata

    def models(self) -> list[str]:
        """The names of all models, ready or not."""
        return self._repository.names()

    def require_ready(self, name: str, version: str | None) -> None:
        """Raise UnknownModel, or ModelNotReady with the reason."""
        model = self._repository.find(name, version)
        if model.state is not State.READY:
            raise ModelNotReady(f"model '{name}' is {model.state.value}")

    def not_ready(self) -> str | None:
        """Why this server is not ready; None when it is."""
        return "the server is stopping" if self.draining else self._repository.not_ready()


class _Flight:
    """A request between admission and answer."""

    __slots__ = ("arrived", "model", "outputs", "plane", "reply", "request")

    def __init__(
        self,
        plane: DataPlane,
        model: Model,
        request: InferRequest,
        outputs: tuple[str, ...],
        reply: Reply,
        arrived: float,
    ) -> None:
        self.plane = plane
        self.model = model
        self.request = request
        self.outputs = outputs
        self.reply = reply
        self.arrived = arrived

    def land(self, outcome: Outcome[list[Array]]) -> None:
        """The run has ended: count it and answer."""
        self.plane.pending -= 1
        stats, metadata = self.model.stats, self.model.metadata
        if outcome.result is None:
            error = _failure(self.model.name, outcome.error)
            stats.failures["CANCELED" if isinstance(error, Cancelled) else "BACKEND"] += 1
            self.reply(error)
            return
        stats.successes += 1
        stats.executions += 1
        stats.inferences += self.request.inputs[0].array.shape[0] if metadata.batched else 1
        stats.queue.observe(outcome.waited)
        stats.compute.observe(outcome.ran)
        specs = metadata.outputs
        tensors = [
            Tensor(name, specs[name].datatype, array) for name, array in zip(self.outputs, outcome.result, strict=True)
        ]
        self.reply(InferResponse(metadata.name, metadata.version, tuple(tensors), self.request.id))
        stats.request.observe(self.plane.clock() - self.arrived)


def _failure(model: str, error: Exception | None) -> RequestError:
    """What the client is told of a run that gave no result."""
    if error is None:
        return Cancelled("the client hung up before its request ran")
    if isinstance(error, RequestError):
        return error
    log.error("model '%s' raised what its backend should have translated", model, exc_info=error)
    return InferenceFailed(f"model '{model}' failed: {type(error).__name__}: {error}")


def check(metadata: ModelMetadata, request: InferRequest) -> tuple[dict[str, Array], tuple[str, ...], int]:
    """Hold a request against what the model takes: (arrays by input, outputs wanted, bytes of input).

    Raises InvalidRequest with the name, what was found and what the model takes.
    """
    feeds: dict[str, Array] = {}
    size = 0
    for name, datatype, array in request.inputs:
        spec = metadata.inputs.get(name)
        if spec is None:
            raise InvalidRequest(f"{_of(metadata)} has no input '{name}'; its inputs are {_names(metadata.inputs)}")
        if name in feeds:
            raise InvalidRequest(f"{_of(metadata)}: input '{name}' is given twice")
        if datatype != spec.datatype:
            raise InvalidRequest(f"{_of(metadata)}: input '{name}' has datatype {datatype}, it must be {spec.datatype}")
        if not spec.takes(array.shape):
            raise InvalidRequest(
                f"{_of(metadata)}: input '{name}' has shape {list(array.shape)}, it must be {list(spec.shape)}"
                + (" where -1 is any size" if -1 in spec.shape else "")
            )
        feeds[name] = array
        size += array.nbytes
    if len(feeds) != len(metadata.inputs):
        missing = [name for name in metadata.inputs if name not in feeds]
        raise InvalidRequest(f"{_of(metadata)}: input {_names(missing)} is missing")
    outputs = _outputs(metadata, request.outputs) if request.outputs else metadata.output_names
    return feeds, outputs, size


def _outputs(metadata: ModelMetadata, wanted: tuple[str, ...]) -> tuple[str, ...]:
    for name in wanted:
        if name not in metadata.outputs:
            raise InvalidRequest(f"{_of(metadata)} has no output '{name}'; its outputs are {_names(metadata.outputs)}")
    if len(set(wanted)) != len(wanted):
        raise InvalidRequest(f"{_of(metadata)}: an output is asked for twice in {_names(wanted)}")
    return wanted


def _of(metadata: ModelMetadata) -> str:
    return f"model '{metadata.name}'"


def _names(names: Iterable[str]) -> str:
    return ", ".join(f"'{name}'" for name in names)
