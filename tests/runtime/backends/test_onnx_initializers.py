"""Values that an ONNX file has for its inputs, read from its bytes as onnx writes them."""

from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper

from mooring_runtime.backends.base import LoadOptions
from mooring_runtime.backends.onnx import session
from mooring_runtime.backends.onnx.initializers import read
from mooring_runtime.errors import ModelInvalid
from mooring_runtime.messages import DATATYPES, Array, ModelMetadata, TensorSpec
from tests.support import models, state_models

DTYPES = [name for name in DATATYPES if name not in ("BYTES", "BF16")]


def model(file: Path, *tensors: TensorProto) -> Path:
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n"])]
    outputs = [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n"])]
    node = helper.make_node("Identity", ["x"], ["y"])
    return models.save(helper.make_graph([node], "g", inputs, outputs, list(tensors)), file)


def values(datatype: str) -> Array:
    dtype = DATATYPES[datatype].dtype
    if dtype.kind in "iu":
        information = np.iinfo(dtype)
        return np.array([[information.min, 0, 1], [2, information.max, 300 % information.max]], dtype)
    return np.array([[0, 1, 0], [-1.5, 1e4, 0.1]]).astype(dtype)


@pytest.mark.parametrize("raw", [True, False])
@pytest.mark.parametrize("datatype", DTYPES)
def test_every_datatype_in_both_forms(tmp_path: Path, datatype: str, raw: bool) -> None:
    array = values(datatype)
    if raw:
        tensor = numpy_helper.from_array(array, "h")
    else:
        tensor = helper.make_tensor("h", models.ONNX_TYPES[datatype], array.shape, array.ravel().tolist())
        assert not tensor.HasField("raw_data")
    other = numpy_helper.from_array(np.zeros(5, np.float32), "other")
    found = read(model(tmp_path / "m.onnx", other, tensor), TensorSpec("h", datatype, (2, 3)))
    assert found.dtype == array.dtype
    np.testing.assert_array_equal(found, array)


@pytest.mark.parametrize("shape", [(), (1,), (0, 3)])
def test_every_shape(tmp_path: Path, shape: tuple[int, ...]) -> None:
    tensor = numpy_helper.from_array(np.ones(shape, np.float32), "h")
    assert read(model(tmp_path / "m.onnx", tensor), TensorSpec("h", "FP32", shape)).shape == shape


def test_what_is_not_there_is_told(tmp_path: Path) -> None:
    external = numpy_helper.from_array(np.ones(2, np.float32), "far")
    external.ClearField("raw_data")
    external.data_location = TensorProto.EXTERNAL
    torn = numpy_helper.from_array(np.ones(2, np.float32), "torn")
    torn.raw_data = b"1234"
    file = model(tmp_path / "m.onnx", external, torn)
    for name, words in (
        ("h", "m.onnx has no value of input 'h'"),
        ("far", "m.onnx: the value of input 'far' cannot be read: it is in another file"),
        ("torn", "m.onnx: the value of input 'torn' cannot be read: cannot reshape"),
    ):
        with pytest.raises(ModelInvalid, match=words):
            read(file, TensorSpec(name, "FP32", (2,)))
    file.write_bytes(b"\x07\xff")
    with pytest.raises(ModelInvalid, match="no protobuf: a field of kind 7"):
        read(file, TensorSpec("h", "FP32", (2,)))


def test_runs_that_may_be_given_such_a_value_are_not_recorded(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    # They would go on with the file's value in place of the state, without a word.
    real = ort.InferenceSession(str(state_models.learned(tmp_path / "m.onnx")), providers=["CPUExecutionProvider"])
    metadata = ModelMetadata("m", "1", "p", (TensorSpec("x", "FP32", (-1, 3)),), (TensorSpec("y", "FP32", (-1, 3)),))
    options = LoadOptions("m", "1", 1, cuda_graph=True, sessions=True)
    assert session._recorded(real, metadata, "CUDA", options) is None
    assert "runs without CUDA graphs: inputs that have a value in the file may be its state" in caplog.text
