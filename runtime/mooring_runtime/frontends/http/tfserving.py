"""What TF Serving's REST API has beside the predict body: examples, signatures, states of versions. Pure."""

from collections.abc import Iterable, Sequence
from typing import Any, Protocol

from mooring_runtime.errors import InvalidRequest
from mooring_runtime.frontends.http import tensors, values
from mooring_runtime.frontends.http.predict import SIGNATURE, Predict, rows_of
from mooring_runtime.messages import InferRequest, InferResponse, ModelMetadata, Tensor, TensorSpec

_DTYPES = {
    "BOOL": "DT_BOOL",
    "UINT8": "DT_UINT8",
    "UINT16": "DT_UINT16",
    "UINT32": "DT_UINT32",
    "UINT64": "DT_UINT64",
    "INT8": "DT_INT8",
    "INT16": "DT_INT16",
    "INT32": "DT_INT32",
    "INT64": "DT_INT64",
    "FP16": "DT_HALF",
    "BF16": "DT_BFLOAT16",
    "FP32": "DT_FLOAT",
    "FP64": "DT_DOUBLE",
    "BYTES": "DT_STRING",
}
"""TensorFlow's name of each datatype of V2."""
_STATES = {"READY": "AVAILABLE", "LOADING": "LOADING", "UNLOADING": "UNLOADING"}
"""TF Serving's name of each state of V2; every other is its END."""


class Entry(Protocol):
    """A version of a model in the repository's index."""

    @property
    def version(self) -> str:
        """Its number."""

    @property
    def state(self) -> str:
        """As V2's index says."""

    @property
    def reason(self) -> str:
        """Why it is not ready."""


# --- what there is


def signature(metadata: ModelMetadata) -> dict[str, Any]:
    """The answer to `GET .../metadata`: the one signature that a model has here."""
    definition = {
        "inputs": {name: _tensor_info(spec) for name, spec in metadata.inputs.items()},
        "outputs": {name: _tensor_info(spec) for name, spec in metadata.outputs.items()},
        "method_name": "tensorflow/serving/predict",
    }
    return {
        "model_spec": {"name": metadata.name, "signature_name": "", "version": metadata.version},
        "metadata": {"signature_def": {"signature_def": {SIGNATURE: definition}}},
    }


def _tensor_info(spec: TensorSpec) -> dict[str, Any]:
    dimensions = [{"size": str(size), "name": ""} for size in spec.shape]
    return {
        "dtype": _DTYPES[spec.datatype],
        "tensor_shape": {"dim": dimensions, "unknown_rank": not spec.shape},
        "name": f"{spec.name}:0",
    }


def version_status(entries: Iterable[Entry], version: str | None) -> list[dict[str, Any]]:
    """The rows of `model_version_status`: of every version that was ever loaded, or of the one named."""
    rows = []
    for entry in entries:
        if not entry.version or version not in (None, entry.version):
            continue
        state = _STATES.get(entry.state, "END")
        failed = state == "END" and entry.reason not in ("", "unloaded")
        status = {"error_code": "UNKNOWN" if failed else "OK", "error_message": entry.reason if failed else ""}
        rows.append({"version": entry.version, "state": state, "status": status})
    return rows


# --- classify and regress: examples in, results out


def decode_examples(metadata: ModelMetadata, document: Any) -> InferRequest:
    """The request in `{"examples": [{feature: value}], "context": {feature: value}}`; features are inputs.

    A feature is a list as in TensorFlow's examples, or its bare value. Raises InvalidRequest.
    """
    examples = document.get("examples") if type(document) is dict else None
    if type(examples) is not list or not examples:
        raise InvalidRequest("the body must be a JSON object with `examples`, a list of at least one object")
    context = document.get("context") or {}
    rows = []
    for index, example in enumerate(examples):
        if type(example) is not dict or type(context) is not dict:
            raise InvalidRequest(f"examples[{index}] and context must be JSON objects of features")
        features = {**context, **example}
        rows.append({name: _feature(metadata.inputs.get(name), value) for name, value in features.items()})
    predict = {"signature_name": document.get("signature_name"), "instances": rows}
    return Predict().decode(metadata, predict)


def _feature(spec: TensorSpec | None, value: Any) -> Any:
    """A feature's value in the rank that the input has: a list of one and its element mean the same."""
    if spec is not None and len(spec.shape) == 1 and type(value) is list and len(value) == 1:
        return value[0]
    if spec is not None and len(spec.shape) == 2 and type(value) is not list:
        return [value]
    return value


class Classify:
    """One classify request: remembers what the model calls its classes."""

    def __init__(self) -> None:
        self._labels: dict[str, Sequence[str]] = {}

    def decode(self, metadata: ModelMetadata, document: Any) -> InferRequest:
        """The request in a parsed body. Raises InvalidRequest."""
        self._labels = dict(metadata.labels)
        return decode_examples(metadata, document)

    def encode(self, response: InferResponse) -> bytes:
        """`result`: for each example its [label, score] pairs.

        The scores are the model's only output of numbers, [n, classes]; the labels its output of strings of the same
        shape, or else those of its configuration, or else the index. Raises InvalidRequest.
        """
        numbers = [tensor for tensor in response.outputs if tensor.datatype != "BYTES"]
        names = [tensor for tensor in response.outputs if tensor.datatype == "BYTES"]
        if len(numbers) != 1 or len(names) > 1 or numbers[0].array.ndim != 2:
            raise InvalidRequest(
                f"model '{response.model_name}' is no classifier: it needs one output [examples, classes] of scores"
            )
        [scores] = numbers
        rows = _rows(scores)
        if names and names[0].array.shape == scores.array.shape:
            labels = _rows(names[0])
        else:
            known = self._labels.get(scores.name, ())
            classes = range(scores.array.shape[1])
            labels = [[known[index] if index < len(known) else str(index) for index in classes]] * len(rows)
        pairs = [list(zip(*each, strict=True)) for each in zip(labels, rows, strict=True)]
        return tensors.dump_json({"result": pairs})


def encode_regression(response: InferResponse) -> bytes:
    """`result`: one number an example. Raises InvalidRequest for a model that gives anything else."""
    [first, *others] = response.outputs
    shape = first.array.shape
    if others or first.datatype == "BYTES" or shape not in (shape[:1], (*shape[:1], 1)):
        raise InvalidRequest(
            f"model '{response.model_name}' is no regressor: it needs one output of one number an example"
        )
    flat = Tensor(first.name, first.datatype, first.array.reshape(-1))
    return tensors.dump_json({"result": rows_of((flat,), flat.array.shape[0])})


def _rows(tensor: Tensor) -> list[Any]:
    plain = values.from_tensor(tensor)
    return plain if isinstance(plain, list) else list(plain)
