"""A body of whatever kind for a model that is known, as TorchServe and SageMaker take it, and an answer of that kind.

What the body is follows from its Content-Type, of a form that of the field `data` or `body`:

| body | answer |
| --- | --- |
| SageMaker's form of V2's binary data (`...sagemaker-triton.binary+json;json-header-size=N`) | the same |
| JSON, V2's infer request | V2's |
| JSON, an object with `instances` or `inputs` | that of `:predict` |
| JSON, a list | a list of predictions, one for each element |
| JSON, an object of one value for each input | the prediction |
| `text/csv`, a line a sample, for a model of one input | `text/csv`, or predictions for who accepts JSON only |
| anything else: the bytes of the only input, in a batch of one | the bytes of the only element of BYTES, or JSON |

Bytes that no Content-Type calls JSON are tried as JSON all the same, unless the model's only input is BYTES or UINT8.
"""

import re
from math import isinf
from typing import Any

from mooring_runtime.dataplane import Reply as Outcome
from mooring_runtime.errors import InvalidRequest, RequestError
from mooring_runtime.frontends.http import multipart, tensors, values
from mooring_runtime.frontends.http.answers import Encode, answering, require_single
from mooring_runtime.frontends.http.infer import HEADER_LENGTH, InferCall
from mooring_runtime.frontends.http.messages import JSON, OCTETS, Head, Reply, Request, Respond
from mooring_runtime.frontends.http.naming import Naming
from mooring_runtime.frontends.http.predict import Predict, is_predict, only_input, rows_of
from mooring_runtime.frontends.shown import shown
from mooring_runtime.messages import Fitted, InferRequest, InferResponse, ModelMetadata

_TRITON = b"application/vnd.sagemaker-triton.binary+json"
_LENGTH = b"Inference-Header-Content-Length"
_CSV = b"text/csv"
_NUMBER = re.compile(
    r"[+-]?(?:(?P<whole>[0-9]+)|(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:e[+-]?[0-9]+)?|(?P<named>inf(?:inity)?|nan))",
    re.ASCII | re.IGNORECASE,
)
_MOST_DIGITS = 400
"""More than any number of a datatype has."""
_FORM = b"multipart/form-data"
_FORM_FIELDS = ("data", "body")
_RAW = frozenset({"BYTES", "UINT8"})


class AnyBody:
    """One request: `decode` and `reply` are what the data plane calls, in this order."""

    __slots__ = ("_answer", "_naming", "_request", "_respond")

    def __init__(self, request: Request, respond: Respond, naming: Naming) -> None:
        """`naming`: of the session, as the headers of the protocol say."""
        self._request = request
        self._respond = respond
        self._naming = naming
        self._answer = answering(respond, _whole, naming)
        """`decode` puts in its place what fits the body."""

    def reply(self, outcome: InferResponse | RequestError) -> None:
        """Answer the client in the manner of its request."""
        self._answer(outcome)

    def decode(self, metadata: ModelMetadata) -> InferRequest | Fitted:
        """The request in the body. Raises InvalidRequest, BadSession."""
        return self._naming.decode(metadata, self._read)

    def _read(self, metadata: ModelMetadata) -> InferRequest | Fitted:
        require_single(metadata)
        kind, parameters = multipart.content_type(self._request.headers.get(b"content-type", b""))
        body = self._request.body
        if kind == _TRITON:
            return self._triton(metadata, parameters.get(b"json-header-size", b""))
        if kind == _FORM:
            kind, body = _form_field(body, parameters.get(b"boundary", b""))
        if kind == _CSV:
            return self._csv(metadata, body)
        only_bytes = len(metadata.inputs) == 1 and next(iter(metadata.inputs.values())).datatype in _RAW
        if kind == JSON or kind.endswith(b"+json"):
            return self._json(metadata, body, tensors.parse_json(body))
        if not only_bytes:
            try:
                document = tensors.parse_json(body)
            except InvalidRequest:
                pass
            else:
                return self._json(metadata, body, document)
        return self._v2(body, {HEADER_LENGTH: b"0"}).read(metadata)

    def _v2(self, body: bytes, headers: dict[bytes, bytes]) -> InferCall:
        head = Head(self._request.method, self._request.target, headers)
        return InferCall(Request(head, body), self._respond, self._naming)

    def _triton(self, metadata: ModelMetadata, size: bytes) -> InferRequest | Fitted:
        respond = self._respond

        def renamed(reply: Reply) -> None:
            length = dict(reply.headers).get(_LENGTH)
            if length is not None:  # SageMaker drops headers that it does not know.
                kept = tuple(header for header in reply.headers if header[0] != _LENGTH)
                reply = reply._replace(content_type=_TRITON + b";json-header-size=" + length, headers=kept)
            respond(reply)

        head = Head(b"POST", self._request.target, {HEADER_LENGTH: size})
        call = InferCall(Request(head, self._request.body), renamed, self._naming)
        self._answer = call.reply
        return call.read(metadata)

    def _json(self, metadata: ModelMetadata, body: bytes, document: Any) -> InferRequest | Fitted:
        if _is_v2(document):
            call = self._v2(body, {})
            self._answer = call.reply
            return call.read(metadata)
        predict = Predict()
        self._answer = self._answering(lambda response: Reply(200, (predict.encode(response),), JSON))
        if is_predict(document):
            return predict.decode(metadata, document)
        if type(document) is list:
            return predict.decode_rows(metadata, document)
        self._answer = self._answering(_only_row)
        return predict.decode_rows(metadata, [document])

    def _answering(self, encode: Encode) -> Outcome:
        return answering(self._respond, encode, self._naming)

    def _csv(self, metadata: ModelMetadata, body: bytes) -> InferRequest | Fitted:
        rows: list[Any] = []
        for number, line in enumerate(body.decode(errors="replace").splitlines(), 1):
            if line.strip():
                rows.append([_number(cell, number) for cell in line.split(",")])
        accept = self._request.headers.get(b"accept", b"*/*")
        if b"json" not in accept or b"csv" in accept:
            self._answer = self._answering(_csv)
        else:
            self._answer = self._answering(_predictions)
        spec = only_input(metadata)
        if len(spec.shape) == 1:
            rows = [cell for row in rows for cell in row]
        return InferRequest((values.to_tensor(spec, rows, values.under("csv")),))


def _is_v2(document: Any) -> bool:
    inputs = document.get("inputs") if type(document) is dict else None
    return type(inputs) is list and bool(inputs) and type(inputs[0]) is dict and "datatype" in inputs[0]


def _form_field(body: bytes, boundary: bytes) -> tuple[bytes, bytes]:
    """Type and content of the field that is the input. Raises InvalidRequest."""
    names = []
    for field in multipart.fields(body, boundary):
        if field.name in _FORM_FIELDS:
            return field.content_type, field.content
        names.append(field.name)
    raise InvalidRequest(f"the form has no field data or body, only {', '.join(map(repr, names))}")


def _number(cell: str, line: int) -> int | float:
    cell = cell.strip()
    form = _NUMBER.fullmatch(cell)  # Python's own rule takes more: `1_0`, and the digits of every script.
    if form is None:
        raise InvalidRequest(f"line {line} of the CSV holds {shown(cell)}, which is no number")
    if form["whole"] and len(cell) <= _MOST_DIGITS:
        return int(cell)
    value = float(cell)
    if isinf(value) and not form["named"]:
        raise InvalidRequest(f"line {line} of the CSV holds {shown(cell)}, which is too large for any datatype")
    return value


# --- answers


def _whole(response: InferResponse) -> Reply:
    """What is left of an answer when its batch of one is taken off."""
    [first, *others] = response.outputs
    if not others and first.datatype == "BYTES" and first.array.size == 1:
        return Reply(200, (first.array.item(),), OCTETS)
    if all(tensor.array.shape[:1] == (1,) for tensor in response.outputs):
        return _only_row(response)
    found = {tensor.name: values.from_tensor(tensor) for tensor in response.outputs}
    return Reply(200, (tensors.dump_json(found if others else found[first.name]),), JSON)


def _only_row(response: InferResponse) -> Reply:
    return Reply(200, (tensors.dump_json(rows_of(response.outputs, 1)[0]),), JSON)


def _predictions(response: InferResponse) -> Reply:
    rows = rows_of(response.outputs, _samples(response))
    return Reply(200, (tensors.dump_json({"predictions": rows}),), JSON)


def _csv(response: InferResponse) -> Reply:
    """A line a sample, of the model's only output. Raises InvalidRequest for several, or for one that is no table."""
    if len(response.outputs) != 1 or response.outputs[0].array.ndim > 2 or response.outputs[0].datatype == "BYTES":
        raise InvalidRequest("the answer is no table of numbers, which CSV could carry; send Accept: application/json")
    rows = rows_of(response.outputs, _samples(response))
    lines = [tensors.dump_json(row).strip(b"[]") + b"\n" for row in rows]
    return Reply(200, (b"".join(lines),), _CSV)


def _samples(response: InferResponse) -> int:
    shape = response.outputs[0].array.shape
    return shape[0] if shape else 0
