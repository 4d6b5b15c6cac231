"""`POST .../infer`: one request of the V2 protocol, from its body to its answer, JSON and binary."""

import logging
from typing import Any

from mooring_runtime.errors import InferenceFailed, InvalidRequest, RequestError, Unsupported
from mooring_runtime.frontends.http import quick, tensors, texts
from mooring_runtime.frontends.http.answers import require_single
from mooring_runtime.frontends.http.messages import JSON, OCTETS, Headers, Part, Reply, Request, Respond, answer
from mooring_runtime.frontends.http.naming import Naming
from mooring_runtime.frontends.http.naming import of as naming_of
from mooring_runtime.frontends.shown import cut, shown
from mooring_runtime.frontends.v2 import classification, sessions
from mooring_runtime.frontends.v2.parameters import Requested, requested
from mooring_runtime.messages import (
    DATATYPES,
    Fitted,
    InferRequest,
    InferResponse,
    ModelMetadata,
    SessionCall,
    SessionInfo,
    Tensor,
    TensorSpec,
)

log = logging.getLogger(__name__)

HEADER_LENGTH = b"inference-header-content-length"
"""Length of the JSON before the binary data; the header's name as it arrives, in lower case."""

_NO_SHARED_MEMORY = "this server has no shared memory; send tensors in the request"
_OURS = frozenset({"binary_data_output"})
_PLAIN = Requested()
_new = tuple.__new__
"""Makes a named tuple of ours in half the time that its constructor takes."""


class InferCall:
    """One request: `decode` and `reply` are what the data plane calls, in this order."""

    # Most requests set none of these, so what they begin with is the class's: quicker than slots filled one by one.
    _binary_default = False
    _binary: dict[str, bool] | None = None
    """What the request says of single outputs."""
    _classes: dict[str, int] | None = None
    """Outputs that are wanted as their largest elements, and how many of them."""
    _metadata: ModelMetadata
    _naming: Naming | None = None
    """Of a request that may be a step of a session."""
    _call: SessionCall | None = None
    """What its head says of that, where it says all, and the data plane has it."""

    def __init__(self, request: Request, respond: Respond, naming: Naming | None = None) -> None:
        """`naming`: what names the session in the protocol that the request came by, where that is another one."""
        self._request = request
        self._respond = respond
        if naming is not None:
            self._naming = naming

    # --- in

    def decode(self, metadata: ModelMetadata) -> InferRequest | Fitted:
        """The request in the body. Raises InvalidRequest with what is wrong with it, BadSession."""
        if metadata.state is None and self._request.head.session is None:
            return self.read(metadata)
        head = self._request.head
        if metadata.state is not None and head.session is not None:
            try:
                request = self.read(metadata)
            except RequestError as error:
                error.applied = error.applied or "no"
                raise
            named = naming_of(head) if type(request) is Fitted else None
            if named is not None and named.alone:  # As nearly all steps are.
                self._call = named.call
                feeds, outputs, size, rows, like, name, _ = request
                return _new(Fitted, (feeds, outputs, size, rows, like, name, named.call))
            self._naming = naming = Naming(head)
            return naming.settled(metadata, request)
        self._naming = naming = Naming(head)
        return naming.decode(metadata, self.read)

    def read(self, metadata: ModelMetadata) -> InferRequest | Fitted:
        """What the body says; of the session only what its parameters say. Raises InvalidRequest, BadSession."""
        self._metadata = metadata
        if metadata.decoupled:
            require_single(metadata)
        body = self._request.body
        header = self._request.head.headers.get(HEADER_LENGTH)
        if header is None:
            fitted = quick.repeated_request(metadata, body)
            if fitted is not None:
                return fitted
            document = tensors.parse_json(body)
            numbers = not quick.may_hold_booleans(body)
            if numbers and not metadata.binary_only:
                fitted = quick.quick_request(metadata, document, body)
                if fitted is not None:
                    return fitted
            return self._document(document, None, numbers=numbers)
        length = int(header) if header.isdigit() and len(header) < 20 else -1
        if not 0 <= length <= len(body):
            told = cut(header.decode("latin-1"))
            raise InvalidRequest(
                f"Inference-Header-Content-Length is '{told}', it must be from 0 to the body's {len(body)} bytes"
            )
        if length == 0:
            return self._raw(memoryview(body))
        text = body[:length]
        plan = quick.plan_for(metadata, text, body)
        if plan is not None:
            self._binary_default, self._binary = plan.choice
            return quick.planned_request(plan, body)
        request = self._document(tensors.parse_json(text), memoryview(body)[length:], numbers=False)
        if self._classes is None:
            quick.keep_plan(metadata, text, len(body), request, (self._binary_default, self._binary))
        return request

    def _raw(self, body: memoryview) -> InferRequest:
        """A body without JSON: the bytes of the model's only input, in a batch of one."""
        metadata = self._metadata
        if len(metadata.inputs) != 1:
            raise InvalidRequest(
                f"a request without JSON is for models of one input; model '{metadata.name}' has {len(metadata.inputs)}"
            )
        (spec,) = metadata.inputs.values()
        what, datatype = f"input '{spec.name}'", DATATYPES[spec.datatype]
        if datatype.name == "BYTES":
            shape = _raw_shape(spec, 1)
            body = memoryview(len(body).to_bytes(4, "little") + bytes(body))
        else:
            shape = _raw_shape(spec, len(body) // datatype.itemsize)
        self._binary_default = True
        return InferRequest((Tensor(spec.name, datatype.name, tensors.from_bytes(what, body, datatype, shape)),))

    def _document(self, document: Any, binary: memoryview | None, *, numbers: bool) -> InferRequest:
        """`numbers`: there is no boolean in it."""
        if type(document) is not dict:
            raise InvalidRequest("the body must be a JSON object")
        request_id = document.get("id")
        if request_id is not None and type(request_id) is not str:
            raise InvalidRequest(f"id is {shown(request_id)}, it must be a string")
        parameters = document.get("parameters")
        asked = _PLAIN if parameters is None else self._request_parameters(parameters)
        wanted = document.get("outputs")
        outputs = () if wanted is None else self._outputs(wanted)
        items = document.get("inputs")
        if type(items) is not list:
            raise InvalidRequest("inputs must be a list")
        found = []
        offset = 0
        for item in items:
            tensor = quick.quick_input(self._metadata, item) if numbers else None
            if tensor is None:
                tensor, offset = _input(item, binary, offset)
            found.append(tensor)
        if binary is not None and offset != len(binary):
            raise InvalidRequest(f"{len(binary) - offset} bytes of binary data are left over after the last input")
        if self._metadata.binary_only:
            self._check_json_outputs(outputs)
        return _new(InferRequest, (tuple(found), outputs, request_id, *asked))

    def _request_parameters(self, parameters: Any) -> Requested:
        if type(parameters) is not dict:
            raise InvalidRequest("parameters must be a JSON object")
        for name in _OURS & parameters.keys():
            self._binary_default = _flag(f"parameter {name}", parameters[name])
        asked = requested(parameters, _OURS)
        if asked.session is not None and self._metadata.state is None:
            sessions.settled(self._metadata, asked.session)
        return asked

    def _outputs(self, items: Any) -> tuple[str, ...]:
        if type(items) is not list:
            raise InvalidRequest("outputs must be a list")
        names = []
        for item in items:
            if type(item) is not dict or type(item.get("name")) is not str:
                raise InvalidRequest("each of outputs must be a JSON object with a name")
            name = item["name"]
            for key, value in _parameters(f"output '{cut(name)}'", item).items():
                self._output_parameter(name, key, value)
            names.append(name)
        return tuple(names)

    def _output_parameter(self, name: str, key: str, value: Any) -> None:
        if key == "binary_data":
            if self._binary is None:
                self._binary = {}
            self._binary[name] = _flag(f"output '{cut(name)}': parameter binary_data", value)
        elif key == "classification":
            count = classification.class_count(name, value)
            if count:
                classification.check(self._metadata, name)
                self._classes = {**(self._classes or {}), name: count}
        elif key.startswith("shared_memory_"):
            raise Unsupported(f"output '{cut(name)}': {_NO_SHARED_MEMORY}")

    def _check_json_outputs(self, wanted: tuple[str, ...]) -> None:
        """Refuse before the model runs what could not be answered after it."""
        for name in self._metadata.binary_only:
            classified = self._classes is not None and name in self._classes
            if (not wanted or name in wanted) and not classified and not self._is_binary(name):
                raise InvalidRequest(
                    f"output '{name}' is {self._metadata.outputs[name].datatype}, which JSON cannot carry; ask for it "
                    "as binary data (binary_data of the output, or binary_data_output of the request)"
                )

    def _is_binary(self, name: str) -> bool:
        return self._binary_default if self._binary is None else self._binary.get(name, self._binary_default)

    # --- out

    def reply(self, outcome: InferResponse | RequestError) -> None:
        """Answer the client."""
        try:
            reply = self._refusal(outcome) if isinstance(outcome, RequestError) else self._encode(outcome)
        except RequestError as error:
            reply = self._refusal(sessions.unwritten(error, outcome))
        except Exception as error:  # Else the client would wait for ever.
            log.exception("cannot write the answer of model '%s'", getattr(outcome, "model_name", "?"))
            failure = InferenceFailed(f"cannot write the answer: {type(error).__name__}: {error}")
            reply = self._refusal(sessions.unwritten(failure, outcome))
        self._respond(reply)

    def _refusal(self, error: RequestError) -> Reply:
        naming = self._naming or Naming(self._request.head)
        if self._call is not None:
            naming.begin(self._call)
        return naming.refuse(error)

    def _encode(self, response: InferResponse) -> Reply:
        if self._classes is not None:
            found = [
                classification.classify(self._metadata, tensor, self._classes[tensor.name])
                if tensor.name in self._classes
                else tensor
                for tensor in response.outputs
            ]
            response = response._replace(outputs=tuple(found))
        model, version, outputs, request_id, parameters, _, session = response
        extra: Headers = ()
        if session is not None and len(outputs) == 1 and request_id is None and not parameters:
            step = self._step(model, version, outputs[0], session)
            if step is not None:
                return step
        if session is not None:
            told = sessions.parameters(session)
            parameters = {**parameters, **told} if parameters else told
            extra = sessions.headers(session) if self._naming is None else self._naming.headers(session)
        as_text = self._binary is None and not self._binary_default
        if as_text and len(outputs) == 1 and request_id is None and not parameters:
            [(name, datatype, array)] = outputs
            start = texts.start(model, version, name, datatype, array.shape)
            text = b"%b%b}]}" % (start, tensors.to_json(name, datatype, array))
            return answer((text,))
        if len(outputs) == 1 and request_id is None and not parameters and self._is_binary(outputs[0][0]):
            [(name, datatype, array)] = outputs
            blob = tensors.to_bytes(datatype, array)
            return _binary_answer(texts.binary(model, version, name, datatype, array.shape, len(blob)), [blob])
        entries: list[bytes] = []
        blobs: list[Part] = []
        for name, datatype, array in outputs:
            if self._is_binary(name):
                blob = tensors.to_bytes(datatype, array)
                entries.append(texts.binary_output(name, datatype, array.shape, len(blob)))
                blobs.append(blob)
            else:
                entry = texts.output(name, datatype, array.shape)
                entries.append(b'%b,"data":%b}' % (entry, tensors.to_json(name, datatype, array)))
        text = texts.answer((model, version), request_id, parameters, entries)
        return _binary_answer(text, blobs, extra) if blobs else answer((text,), JSON, extra)

    def _step(self, model: str, version: str, tensor: Tensor, session: SessionInfo) -> Reply | None:
        """The answer to a step as nearly all are; None for another one."""
        naming = self._naming
        if self._binary_default or self._binary is not None or (naming is not None and not naming.usual):
            return None
        told = sessions.usual(session)
        if told is None:
            return None
        name, datatype, array = tensor
        data = tensors.to_json(name, datatype, array)
        text = texts.step(told[0], (model, version), (name, datatype, array.shape), data)
        return answer((text,), JSON, (), told[1])


def _binary_answer(text: bytes, blobs: list[Part], extra: Headers = ()) -> Reply:
    length = (b"Inference-Header-Content-Length", b"%d" % len(text))
    return answer((text, *blobs), OCTETS, (length, *extra))


def _input(item: Any, binary: memoryview | None, offset: int) -> tuple[Tensor, int]:
    """One of `inputs`, and where in the binary data the next one's bytes begin."""
    if type(item) is not dict or type(item.get("name")) is not str:
        raise InvalidRequest("each of inputs must be a JSON object with a name")
    name = item["name"]
    what = f"input '{cut(name)}'"
    datatype = tensors.datatype_of(what, item.get("datatype"))
    shape = tensors.shape_of(what, item.get("shape"))
    size = None
    if "parameters" in item:
        parameters = _parameters(what, item)
        size = parameters.get("binary_data_size")
        if any(key.startswith("shared_memory_") for key in parameters):
            raise Unsupported(f"{what}: {_NO_SHARED_MEMORY}")
    if (size is None) == ("data" not in item):
        found = "neither" if size is None else "both"
        raise InvalidRequest(f"{what} needs either data or the parameter binary_data_size; it has {found}")
    if size is None:
        return Tensor(name, datatype.name, tensors.from_json(what, item["data"], datatype, shape)), offset
    if binary is None:
        raise InvalidRequest(f"{what} has binary_data_size, but there is no header Inference-Header-Content-Length")
    if type(size) is not int or not 0 <= size <= len(binary) - offset:
        raise InvalidRequest(
            f"{what} has binary_data_size {shown(size)}, but the body has {len(binary) - offset} bytes left for it"
        )
    array = tensors.from_bytes(what, binary[offset : offset + size], datatype, shape)
    return Tensor(name, datatype.name, array), offset + size


def _raw_shape(spec: TensorSpec, count: int) -> tuple[int, ...]:
    """The shape for `count` elements: the batch is one, and at most one other size may be open."""
    shape = list(spec.shape)
    free = [axis for axis, size in enumerate(shape) if size < 0]
    if len(free) > 1 and free[0] == 0:
        shape[0] = 1
        free = free[1:]
    if len(free) > 1:
        raise InvalidRequest(f"input '{spec.name}' has {len(free)} open sizes, so a request needs JSON with its shape")
    if free:
        rest = 1
        for axis, size in enumerate(shape):
            rest *= 1 if axis == free[0] else size
        shape[free[0]] = count // rest if rest else 0
    return tuple(shape)


def _parameters(what: str, item: dict[str, Any]) -> dict[str, Any]:
    parameters = item.get("parameters")
    if parameters is None:
        return {}
    if type(parameters) is not dict:
        raise InvalidRequest(f"{what}: parameters must be a JSON object")
    return parameters


def _flag(what: str, value: Any) -> bool:
    if type(value) is not bool:
        raise InvalidRequest(f"{what} is {shown(value)}, it must be true or false")
    return value
