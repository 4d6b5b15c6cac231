"""The predict body that KServe V1 and TF Serving share: rows under `instances`, or columns under `inputs`. Pure.

- Rows: one row a sample. A model of one input takes bare values, one of several takes `{input: value}` for each row.
  The answer is `predictions`, a row for each: a bare value for a model of one output, else `{output: value}`.
- Columns: the whole tensor of each input, batch and all; bare for a model of one input. The answer is `outputs` in the
  same manner, or `predictions` where only KServe's V1 is spoken, which knows no columns.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from mooring_runtime.errors import InvalidRequest
from mooring_runtime.frontends.http import tensors, values
from mooring_runtime.frontends.shown import cut, shown
from mooring_runtime.messages import InferRequest, InferResponse, ModelMetadata, Tensor, TensorSpec

SIGNATURE = "serving_default"
"""The name of the one signature that a model has here, as TF Serving's clients know it."""
_KEYS = ("instances", "inputs")


def is_predict(document: object) -> bool:
    """Whether this JSON document is a predict body, by its keys."""
    return type(document) is dict and not document.keys().isdisjoint(_KEYS)


class Predict:
    """One predict body and its answer."""

    __slots__ = ("_bare", "_columns_key", "_count")

    def __init__(self, columns_key: str = "outputs") -> None:
        """`columns_key` is that of the answer to columns."""
        self._columns_key = columns_key
        self._count: int | None = None
        """Rows of the request; None for columns."""
        self._bare = False
        """The rows came without a document around them, and so does the answer."""

    def decode(self, metadata: ModelMetadata, document: Any) -> InferRequest:
        """The request in a parsed body. Raises InvalidRequest with the place of what is wrong."""
        if type(document) is not dict:
            raise InvalidRequest("the body must be a JSON object")
        signature = document.get("signature_name") or SIGNATURE
        if signature != SIGNATURE:
            raise InvalidRequest(
                f"signature_name is {shown(signature)}; model '{metadata.name}' has only '{SIGNATURE}'"
            )
        given = [key for key in _KEYS if key in document]
        if len(given) != 1:
            found = "both" if given else "neither"
            raise InvalidRequest(f"the body needs either `instances` (rows) or `inputs` (columns); it has {found}")
        value = document[given[0]]
        found_tensors = self._rows(metadata, value) if given[0] == "instances" else _columns(metadata, value)
        return InferRequest(tuple(found_tensors))

    def decode_rows(self, metadata: ModelMetadata, rows: Any) -> InferRequest:
        """A request of rows alone; its answer is the rows alone too."""
        self._bare = True
        return InferRequest(tuple(self._rows(metadata, rows)))

    def _rows(self, metadata: ModelMetadata, rows: Any) -> list[Tensor]:
        if type(rows) is not list:
            raise InvalidRequest("instances must be a list, one element a sample")
        self._count = len(rows)
        if not rows or not _is_named(rows[0]):
            return [values.to_tensor(only_input(metadata), rows, values.under("instances"))]
        for index, row in enumerate(rows):
            if not _is_named(row) or row.keys() != rows[0].keys():
                raise InvalidRequest(f"instances[{index}] does not name the same inputs as instances[0]")
        return [
            values.to_tensor(_input(metadata, name), [row[name] for row in rows], _column_place(name))
            for name in rows[0]
        ]

    def encode(self, response: InferResponse) -> bytes:
        """The body of the answer. Raises InvalidRequest for outputs that are no rows when the request was."""
        if self._count is None:
            return tensors.dump_json({self._columns_key: columns_of(response.outputs)})
        rows = rows_of(response.outputs, self._count)
        return tensors.dump_json(rows if self._bare else {"predictions": rows})


def columns_of(outputs: Sequence[Tensor]) -> Any:
    """Whole outputs: the only one bare, several by name."""
    found = {tensor.name: _plain(tensor) for tensor in outputs}
    return next(iter(found.values())) if len(found) == 1 else found


def rows_of(outputs: Sequence[Tensor], count: int) -> Any:
    """Outputs as one row a sample. Raises InvalidRequest for an output whose first size is not `count`."""
    for tensor in outputs:
        shape = tensor.array.shape
        if shape[:1] != (count,):
            raise InvalidRequest(
                f"output '{tensor.name}' has shape {list(shape)}, which is no row for each of {count} instances; "
                "send `inputs` in place of `instances`"
            )
    if len(outputs) == 1:
        return _plain(outputs[0])
    columns = {tensor.name: _plain(tensor) for tensor in outputs}
    return [{name: column[index] for name, column in columns.items()} for index in range(count)]


def _plain(tensor: Tensor) -> Any:
    # TF Serving's rule: a name that ends so says that the content is no text.
    return values.from_tensor(tensor, as_base64=tensor.name.endswith("_bytes"))


def _columns(metadata: ModelMetadata, columns: Any) -> list[Tensor]:
    if type(columns) is not dict or values.is_base64(columns):
        return [values.to_tensor(only_input(metadata), columns, values.under("inputs"))]
    return [
        values.to_tensor(_input(metadata, name), value, values.under(f"inputs['{name}']"))
        for name, value in columns.items()
    ]


def _is_named(row: object) -> bool:
    return type(row) is dict and not values.is_base64(row)


def _column_place(name: str) -> values.Place:
    """The first index is the row's, the others are within its value."""
    return lambda indexes: (
        f"instances[{indexes[0]}]['{name}']" + "".join(f"[{index}]" for index in indexes[1:])
        if indexes
        else f"'{name}' of instances"
    )


def _input(metadata: ModelMetadata, name: str) -> TensorSpec:
    spec = metadata.inputs.get(name)
    if spec is None:
        raise InvalidRequest(
            f"model '{metadata.name}' has no input '{cut(name)}'; its inputs are {_names(metadata.inputs)}"
        )
    return spec


def only_input(metadata: ModelMetadata) -> TensorSpec:
    """The input of a model that has one. Raises InvalidRequest for several."""
    if len(metadata.inputs) != 1:
        raise InvalidRequest(
            f"model '{metadata.name}' has {len(metadata.inputs)} inputs, so each value must stand under its name: "
            f"{_names(metadata.inputs)}"
        )
    return next(iter(metadata.inputs.values()))


def _names(names: Mapping[str, object]) -> str:
    return ", ".join(f"'{name}'" for name in names)
