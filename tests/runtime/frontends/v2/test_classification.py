import numpy as np
import pytest

from mooring_runtime.errors import InvalidRequest
from mooring_runtime.frontends.v2.classification import check, class_count, classify
from mooring_runtime.messages import Array, ModelMetadata, Tensor, TensorSpec, Traits


def metadata(datatype: str = "FP32", shape: tuple[int, ...] = (-1, 3), labels: tuple[str, ...] = ()) -> ModelMetadata:
    spec = TensorSpec("y", datatype, shape)
    return ModelMetadata("m", "1", "test", (TensorSpec("x", datatype, shape),), (spec,), Traits(labels={"y": labels}))


def classes(array: Array, count: int, *, model: ModelMetadata | None = None, datatype: str = "FP32") -> object:
    result = classify(model or metadata(datatype), Tensor("y", datatype, array), count)
    assert result.datatype == "BYTES"
    return result.array.tolist()


def test_each_sample_has_its_largest_elements_first() -> None:
    array = np.array([[0.25, 0.5, 0.25], [9, 7, 8]], np.float32)
    assert classes(array, 2) == [[b"0.500000:1", b"0.250000:0"], [b"9.000000:0", b"8.000000:2"]]


def test_labels_stand_behind_the_index_as_far_as_there_are_some() -> None:
    model = metadata(labels=("cat", "dog"))
    assert classes(np.array([[1, 2, 3]], np.float32), 9, model=model) == [
        [b"3.000000:2", b"2.000000:1:dog", b"1.000000:0:cat"]
    ]


def test_a_model_that_does_not_batch_has_one_list() -> None:
    assert classes(np.array([[1, 3], [2, 0]], np.float32), 2, model=metadata(shape=(2, 2))) == [
        b"3.000000:1",
        b"2.000000:2",
    ]


@pytest.mark.parametrize(
    ("datatype", "array", "found"),
    [
        ("UINT8", np.array([[0, 255, 1]], np.uint8), [b"255:1", b"1:2", b"0:0"]),
        ("INT64", np.array([[-(2**63), 2**63 - 1, 0]], np.int64), [b"9223372036854775807:1", b"0:2"]),
        ("BOOL", np.array([[False, True, True]]), [b"1:1", b"1:2", b"0:0"]),
        ("FP16", np.array([[0.5, 1, 2]], np.float16), [b"2.000000:2", b"1.000000:1", b"0.500000:0"]),
        ("BF16", np.array([[0x3F80, 0xC000, 0x4000]], np.uint16), [b"2.000000:2", b"1.000000:0", b"-2.000000:1"]),
        ("FP64", np.array([[np.nan, -np.inf, 1]]), [b"1.000000:2", b"nan:0", b"-inf:1"]),
    ],
)
def test_every_ordered_datatype(datatype: str, array: Array, found: list[bytes]) -> None:
    result = classes(array, 3, datatype=datatype)
    assert isinstance(result, list)
    assert result[0][: len(found)] == found


def test_no_samples_and_no_elements() -> None:
    assert classes(np.empty((0, 3), np.float32), 2) == []
    assert classes(np.empty((2, 0), np.float32), 2, model=metadata(shape=(-1, -1))) == [[], []]


def test_what_cannot_be_classified_is_refused_before_the_run() -> None:
    with pytest.raises(InvalidRequest, match="output 'y' is BYTES"):
        check(metadata("BYTES"), "y")
    check(metadata(), "y")
    assert class_count("y", 3) == 3
    for wrong in (-1, 1.5, "3", True):
        with pytest.raises(InvalidRequest, match="it must be a whole number"):
            class_count("y", wrong)
