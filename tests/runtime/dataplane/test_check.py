import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mooring_runtime.dataplane import check
from mooring_runtime.errors import InvalidRequest
from mooring_runtime.messages import InferRequest, ModelMetadata, Tensor, TensorSpec, Traits
from mooring_runtime.scheduling import ALONE
from tests.support.serving import echo_metadata


def tensor(name: str, datatype: str = "FP32", shape: tuple[int, ...] = (1, 2)) -> Tensor:
    return Tensor(name, datatype, np.zeros(shape, np.float32))


@pytest.mark.parametrize(
    ("request_", "words"),
    [
        (InferRequest(()), "model 'echo': input 'in_FP32', 'in_INT8' is missing"),
        (InferRequest((tensor("in_FP32"),)), "model 'echo': input 'in_INT8' is missing"),
        (InferRequest((tensor("x"),)), "model 'echo' has no input 'x'; its inputs are 'in_FP32', 'in_INT8'"),
        (InferRequest((tensor("in_FP32"), tensor("in_FP32"))), "model 'echo': input 'in_FP32' is given twice"),
        (
            InferRequest((tensor("in_INT8"),)),
            "model 'echo': input 'in_INT8' has datatype FP32, it must be INT8",
        ),
        (
            InferRequest((tensor("in_FP32", shape=(1, 3)),)),
            "model 'echo': input 'in_FP32' has shape [1, 3], it must be [-1, 2] where -1 is any size",
        ),
        (
            InferRequest((tensor("in_FP32", shape=(2,)),)),
            "model 'echo': input 'in_FP32' has shape [2], it must be [-1, 2] where -1 is any size",
        ),
        (
            InferRequest((tensor("in_FP32"), tensor("in_INT8", "INT8")), ("z",)),
            "model 'echo' has no output 'z'; its outputs are 'out_FP32', 'out_INT8'",
        ),
        (
            InferRequest((tensor("in_FP32"), tensor("in_INT8", "INT8")), ("out_FP32", "out_FP32")),
            "model 'echo': an output is asked for twice in 'out_FP32', 'out_FP32'",
        ),
    ],
)
def test_what_does_not_fit_the_model_is_told(request_: InferRequest, words: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        check(echo_metadata(("FP32", "INT8")), request_)
    assert str(caught.value) == words


def test_outputs_come_as_asked_or_all() -> None:
    metadata = echo_metadata(("FP32", "INT8"))
    inputs = (tensor("in_FP32"), tensor("in_INT8", "INT8"))
    assert check(metadata, InferRequest(inputs)).outputs == ("out_FP32", "out_INT8")
    assert check(metadata, InferRequest(inputs, ("out_INT8",))).outputs == ("out_INT8",)


def test_a_model_without_inputs() -> None:
    metadata = ModelMetadata("m", "1", "p", (), (TensorSpec("y", "FP32", (1,)),))
    assert check(metadata, InferRequest(())) == ({}, ("y",), 0, 1, ALONE, None, None)
    assert not metadata.batched


def batching(*shapes: tuple[int, ...], most: int | None = 4) -> ModelMetadata:
    """A model with an input a, b, ... of each shape; the output has the first one's."""
    inputs = tuple(TensorSpec(name, "FP32", shape) for name, shape in zip("abc", shapes, strict=False))
    return ModelMetadata("m", "1", "p", inputs, (TensorSpec("y", "FP32", shapes[0]),), Traits(max_batch=most))


def asking(*shapes: tuple[int, ...], outputs: tuple[str, ...] = ()) -> InferRequest:
    return InferRequest(tuple(tensor(name, shape=shape) for name, shape in zip("abc", shapes, strict=False)), outputs)


def test_requests_that_differ_in_their_samples_only_are_alike() -> None:
    model = batching((-1, 2))
    assert check(model, asking((1, 2)))[3:6] == (1, check(model, asking((3, 2))).like, None)
    assert check(model, asking((3, 2))).rows == 3
    assert check(model, asking((1, 2))).like is not ALONE


def test_to_name_all_outputs_is_to_name_none() -> None:
    model = batching((-1, 2))
    assert check(model, asking((1, 2), outputs=("y",))).like == check(model, asking((1, 2))).like


@given(st.lists(st.tuples(st.integers(1, 4), st.integers(0, 3), st.integers(0, 3)), min_size=2, max_size=2))
def test_only_equal_sizes_are_alike(requests: list[tuple[int, int, int]]) -> None:
    model = batching((-1, -1), (-1, -1))
    (_, a, b), (_, c, d) = requests
    one, other = (check(model, asking((rows, left), (rows, right))).like for rows, left, right in requests)
    assert (one == other) == ((a, b) == (c, d))


def test_other_outputs_are_not_alike() -> None:
    inputs = (TensorSpec("a", "FP32", (-1, 2)),)
    outputs = (TensorSpec("y", "FP32", (-1, 2)), TensorSpec("z", "FP32", (-1, 2)))
    model = ModelMetadata("m", "1", "p", inputs, outputs)
    likes = [check(model, asking((1, 2), outputs=wanted)).like for wanted in ((), ("y",), ("z",), ("z", "y"))]
    assert len(set(likes)) == 4


@pytest.mark.parametrize(
    ("model", "shapes"),
    [
        (batching((-1, 2), most=None), [(33, 2)]),  # More than a run takes, and nobody set that bound.
        (batching((-1, 2)), [(0, 2)]),
        (batching((-1, 2), (-1,)), [(2, 2), (3,)]),  # First sizes that are no samples.
        (batching((-1, 2), most=1), [(3, 2)]),
        (batching((2,)), [(2,)]),
    ],
)
def test_what_runs_alone(model: ModelMetadata, shapes: list[tuple[int, ...]]) -> None:
    assert check(model, asking(*shapes)).like is ALONE


def test_a_bound_that_somebody_set_is_kept() -> None:
    with pytest.raises(InvalidRequest) as caught:
        check(batching((-1, 2)), asking((5, 2)))
    assert str(caught.value) == "model 'm' takes at most 4 samples in a request, not 5; split it"
    assert check(batching((-1, 2)), asking((4, 2))).rows == 4


def test_shapes_that_clients_choose_do_not_fill_the_memory() -> None:
    model = batching((-1, -1))
    for size in range(1000):
        check(model, asking((1, size)))
    assert len(model.inputs["a"].fits) <= 256
