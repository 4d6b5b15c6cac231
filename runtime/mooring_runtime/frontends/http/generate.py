"""V2's `generate` and `generate_stream`: one flat JSON object in, one out, or one after another as server-sent events.

Each key of the request is the value of the input of that name, or else a parameter, for the model or of a session;
`parameters` may hold further ones, and `id` is the request's. A value needs no shape: a single one, or a flat list,
takes that of its input, where a batch counts one and one other size may be open; nested lists have their own shape.
Each output is a key of the answer: a single value for one element, else a flat list; beside them stand `model_name`,
`model_version`, `id` and the parameters of the answer.
"""

import logging
from typing import Any

from mooring_runtime.errors import InferenceFailed, InvalidRequest, RequestError
from mooring_runtime.frontends.http import tensors, values
from mooring_runtime.frontends.http.messages import JSON, Reply, Request, Respond
from mooring_runtime.frontends.http.naming import Naming
from mooring_runtime.frontends.shown import shown
from mooring_runtime.frontends.v2 import sessions
from mooring_runtime.frontends.v2.parameters import requested
from mooring_runtime.messages import Fitted, InferRequest, InferResponse, ModelMetadata, Tensor, TensorSpec

log = logging.getLogger(__name__)

EVENTS = b"text/event-stream; charset=utf-8"
_HEADERS = ((b"Cache-Control", b"no-cache"),)


class Generate:
    """One request: `decode` and `reply` are what the data plane calls, `reply` until the final answer."""

    __slots__ = ("_begun", "_naming", "_only", "_request", "_respond", "_stream", "_surplus")

    def __init__(self, request: Request, respond: Respond, *, stream: bool) -> None:
        self._request = request
        self._naming = Naming(request.head)
        self._respond = respond
        self._stream = stream
        self._begun = False
        """The head of the stream of events has been sent."""
        self._only: InferResponse | None = None
        self._surplus = False
        """There was more than one answer where one can be told."""

    def decode(self, metadata: ModelMetadata) -> InferRequest | Fitted:
        """The request in the body. Raises InvalidRequest, BadSession."""
        return self._naming.decode(metadata, self._read)

    def _read(self, metadata: ModelMetadata) -> InferRequest:
        document = tensors.parse_json(self._request.body)
        if type(document) is not dict:
            raise InvalidRequest("the body must be a JSON object")
        request_id = document.pop("id", None)
        if request_id is not None and type(request_id) is not str:
            raise InvalidRequest(f"id is {shown(request_id)}, it must be a string")
        nested = document.pop("parameters", {})
        if type(nested) is not dict:
            raise InvalidRequest("parameters must be a JSON object")
        inputs: list[Tensor] = []
        parameters: dict[str, Any] = {}
        for key, value in (*document.items(), *nested.items()):
            spec = metadata.inputs.get(key)
            if spec is None:
                parameters[key] = value
            else:
                inputs.append(_tensor(metadata, spec, value))
        if twice := sessions.PARAMETERS & document.keys() & nested.keys():
            first, second = (
                sessions.from_parameters({name: each[name] for name in twice}) for each in (document, nested)
            )
            sessions.joined(first, second)  # Either of two that differ would be the wrong one.
        asked = requested(parameters)
        return InferRequest(tuple(inputs), (), request_id, *asked)

    def reply(self, outcome: InferResponse | RequestError) -> None:
        """Tell the client of the next answer, or of the failure."""
        try:
            if self._stream:
                self._event(outcome)
            else:
                self._single(outcome)
        except Exception as error:  # Else the client would wait for ever.
            log.exception("cannot write the answer of model '%s'", getattr(outcome, "model_name", "?"))
            failure = InferenceFailed(f"cannot write the answer: {type(error).__name__}: {error}")
            self._fail(sessions.unwritten(failure, outcome))

    def _single(self, outcome: InferResponse | RequestError) -> None:
        if isinstance(outcome, RequestError):
            self._respond(self._naming.refuse(outcome))
            return
        if outcome.outputs:
            self._surplus = self._only is not None
            self._only = outcome
        if not outcome.final:
            return
        if self._only is None or self._surplus:
            found = "none" if self._only is None else "several"
            told = f"generate tells one answer, but model '{outcome.model_name}' gave {found}; use generate_stream"
            self._fail(sessions.unwritten(InvalidRequest(told), outcome))
        else:
            self._respond(self._naming.tell(Reply(200, (_document(self._only),), JSON), self._only.session))

    def _event(self, outcome: InferResponse | RequestError) -> None:
        if isinstance(outcome, RequestError):
            self._fail(outcome)
            return
        # The last answer of a model that gives any number of them may be empty: it only says that it is the last.
        event = b"data: %s\n\n" % _document(outcome) if outcome.outputs else b""
        self._begun = True
        reply = Reply(200, (event,), EVENTS, _HEADERS, more=not outcome.final)
        self._respond(self._naming.tell(reply, outcome.session))

    def _fail(self, error: RequestError) -> None:
        if not self._begun:
            self._respond(self._naming.refuse(error))
            return
        event = b"data: %s\n\n" % tensors.dump_json({"error": str(error), **self._naming.about(error)})
        self._respond(Reply(200, (event,), EVENTS, _HEADERS))


def _tensor(metadata: ModelMetadata, spec: TensorSpec, value: Any) -> Tensor:
    tensor = values.to_tensor(spec, value, values.under(spec.name))
    rank = len(spec.shape)
    if tensor.array.ndim == rank or tensor.array.ndim > 1:
        return tensor
    shape = list(spec.shape)
    if metadata.batched:
        shape[0] = 1
    open_axes = [axis for axis, size in enumerate(shape) if size < 0]
    count = tensor.array.size
    for axis in open_axes[:-1]:
        shape[axis] = 1
    if open_axes:
        rest = 1
        for axis, size in enumerate(shape):
            rest *= 1 if axis == open_axes[-1] else size
        shape[open_axes[-1]] = count // rest if rest else 0
    try:
        return tensor._replace(array=tensor.array.reshape(shape))
    except ValueError:
        raise InvalidRequest(
            f"{spec.name} has {count} elements, which do not fill its shape {list(spec.shape)} where -1 is any size"
        ) from None


def _document(response: InferResponse) -> bytes:
    document: dict[str, Any] = {"model_name": response.model_name, "model_version": response.model_version}
    if response.id is not None:
        document["id"] = response.id
    document.update(response.parameters)
    if response.session is not None:
        document.update(sessions.parameters(response.session))
    for tensor in response.outputs:
        flat = values.from_tensor(tensor._replace(array=tensor.array.reshape(-1)))
        document[tensor.name] = flat[0] if len(flat) == 1 else flat
    return tensors.dump_json(document)
