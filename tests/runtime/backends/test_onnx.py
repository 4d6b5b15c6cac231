import weakref
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest

from mooring_runtime.backends.base import Backend, LoadOptions, loader
from mooring_runtime.backends.onnx.backend import OnnxBackend, direct
from mooring_runtime.errors import InferenceFailed, ModelInvalid, ModelRefused
from mooring_runtime.messages import DATATYPES, Array, TensorSpec
from tests.support import models

OPTIONS = LoadOptions("m", "1", threads=1, accelerator=False)


def load(file: Path) -> Backend:
    return loader("onnx")(file, OPTIONS)


def sample(datatype: str) -> Array:
    """Four elements of a datatype, in shape [2, 2]."""
    if datatype == "BYTES":
        array: Array = np.empty((2, 2), dtype=object)
        array[:] = [[b"", b"a\0b"], ["ä".encode(), b"x" * 1000]]
        return array
    if datatype == "BOOL":
        return np.array([[True, False], [False, True]])
    return np.array([[0, 1], [2, 100]], dtype=DATATYPES[datatype].dtype)


@pytest.mark.parametrize("datatypes", [models.ALL_BUT_BF16, ("BF16", "FP32", "INT64")])
def test_every_datatype_goes_in_and_comes_out(tmp_path: Path, datatypes: tuple[str, ...]) -> None:
    backend = load(models.echo(tmp_path / "m.onnx", datatypes))
    assert tuple(spec.datatype for spec in backend.metadata.inputs.values()) == datatypes
    feeds = {f"in_{name}": sample(name) for name in datatypes}
    names = [f"out_{name}" for name in datatypes]
    for name, array in zip(datatypes, backend.infer(feeds, names), strict=True):
        assert array.dtype == DATATYPES[name].dtype
        assert array.tolist() == sample(name).tolist()


def test_strings_and_bfloat16_at_once_are_refused_when_loaded(tmp_path: Path) -> None:
    with pytest.raises(ModelInvalid, match="takes BYTES and has BF16 tensors"):
        load(models.echo(tmp_path / "m.onnx", ("BF16", "BYTES")))


def test_only_the_outputs_asked_for_are_computed_in_their_order(tmp_path: Path) -> None:
    backend = load(models.echo(tmp_path / "m.onnx", ("INT8", "FP32")))
    feeds = {"in_INT8": sample("INT8"), "in_FP32": sample("FP32")}
    assert [array.dtype for array in backend.infer(feeds, ["out_FP32", "out_INT8"])] == [np.float32, np.int8]


@pytest.mark.parametrize("shape", [(0, 3), (2, 0), (1, 1)])
def test_empty_and_single_tensors(tmp_path: Path, shape: tuple[int, int]) -> None:
    backend = load(models.echo(tmp_path / "m.onnx"))
    [array] = backend.infer({"in_FP32": np.zeros(shape, np.float32)}, ["out_FP32"])
    assert array.shape == shape


def test_metadata(tmp_path: Path) -> None:
    metadata = load(models.echo(tmp_path / "m.onnx", ("FP32",), ("batch", None, 3))).metadata
    assert (metadata.name, metadata.version, metadata.platform) == ("m", "1", "onnxruntime_onnx")
    assert metadata.inputs["in_FP32"].shape == (-1, -1, 3)
    assert metadata.batched


def test_an_array_that_must_not_be_written_is_taken(tmp_path: Path) -> None:
    backend = load(models.echo(tmp_path / "m.onnx"))
    array = np.frombuffer(np.arange(4, dtype=np.float32).tobytes(), dtype=np.float32).reshape(2, 2)
    assert backend.infer({"in_FP32": array}, ["out_FP32"])[0].tolist() == [[0, 1], [2, 3]]


def test_tensors_that_do_not_fit_are_the_clients_fault(tmp_path: Path) -> None:
    backend = load(models.perceptron(tmp_path / "m.onnx"))
    with pytest.raises(ModelRefused, match="the model refused the input: 2 : INVALID_ARGUMENT"):
        backend.infer({"x": np.zeros((1, 3), np.float32)}, ["y"])


def test_strings_must_be_unicode(tmp_path: Path) -> None:
    backend = load(models.echo(tmp_path / "m.onnx", ("BYTES",)))
    array = np.array([[b"fine", b"a\xffb"]], dtype=object)
    with pytest.raises(ModelRefused, match=r"input 'in_BYTES', element 1 is not UTF-8 \(byte 1\)"):
        backend.infer({"in_BYTES": array}, ["out_BYTES"])


def test_a_run_that_fails_says_why_to_the_client_only(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    backend = load(models.gather(tmp_path / "m.onnx"))
    with pytest.raises((InferenceFailed, ModelRefused), match="out of data bounds"):
        backend.infer({"index": np.array([7], np.int64)}, ["y"])
    assert capfd.readouterr().err == ""


def test_a_file_that_is_no_model(tmp_path: Path) -> None:
    file = tmp_path / "m.onnx"
    file.write_bytes(b"not a model")
    with pytest.raises(ModelInvalid, match=r"m\.onnx is no model that onnxruntime .* can serve: .*Protobuf"):
        load(file)


def test_an_output_that_v2_cannot_carry(tmp_path: Path) -> None:
    with pytest.raises(ModelInvalid, match=r"output 'y' is seq\(tensor\(float\)\), which the V2 protocol cannot carry"):
        load(models.with_sequence_output(tmp_path / "m.onnx"))


def test_a_custom_operator_is_not_loaded(tmp_path: Path) -> None:
    with pytest.raises(ModelInvalid, match=r"com\.example"):
        load(models.with_custom_operator(tmp_path / "m.onnx"))


def test_external_data_beside_the_model_is_read(tmp_path: Path) -> None:
    (tmp_path / "weights").mkdir()
    np.array([1, 2, 3, 4], np.float32).tofile(tmp_path / "weights" / "w.bin")
    backend = load(models.with_external_data(tmp_path / "m.onnx", "weights/w.bin"))
    assert backend.infer({"x": np.zeros((1, 4), np.float32)}, ["y"])[0].tolist() == [[1, 2, 3, 4]]
    assert backend.memory == (tmp_path / "m.onnx").stat().st_size + 16


@pytest.mark.parametrize("how", ["above", "absolute", "link", "detour"])
def test_external_data_elsewhere_is_refused(tmp_path: Path, how: str) -> None:
    outside = tmp_path / "outside.bin"
    np.zeros(4, np.float32).tofile(outside)
    (tmp_path / "model" / "sub").mkdir(parents=True)
    (tmp_path / "model" / "link.bin").symlink_to(outside)
    location = {
        "above": "../outside.bin",
        "absolute": str(outside),
        "link": "link.bin",
        "detour": "sub/../../outside.bin",
    }[how]
    with pytest.raises(ModelInvalid, match="External data path validation failed"):
        load(models.with_external_data(tmp_path / "model" / "m.onnx", location))


def test_a_format_without_a_backend_in_this_build() -> None:
    with pytest.raises(KeyError):
        loader("tarot")


def test_the_device_is_what_really_runs(tmp_path: Path) -> None:
    assert load(models.echo(tmp_path / "m.onnx")).device == "CPU"


def test_a_gpu_that_this_build_does_not_know_is_not_missed(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    file = models.echo(tmp_path / "m.onnx")
    assert loader("onnx")(file, LoadOptions("m", "1", threads=1)).device == "CPU"
    assert not caplog.records


def test_what_the_configuration_says_is_in_the_metadata(tmp_path: Path) -> None:
    options = LoadOptions("m", "1", 1, accelerator=False, max_batch=8, labels={"y": ("a", "b", "c", "d")})
    metadata = loader("onnx")(models.perceptron(tmp_path / "m.onnx"), options).metadata
    assert (metadata.max_batch, metadata.labels) == (8, {"y": ("a", "b", "c", "d")})


def test_what_the_configuration_declares_must_be_so(tmp_path: Path) -> None:
    file = models.echo(tmp_path / "m.onnx", ("FP32",), ("batch", None, 3))

    def declared(role: str, *spec: Any) -> Backend:
        said: dict[str, Any] = {role: (TensorSpec(*spec),)}
        return loader("onnx")(file, replace(OPTIONS, **said))

    for shape in [(-1, -1, 3), (8, 5, 3), (-1, -1, -1)]:
        metadata = declared("inputs", "in_FP32", "FP32", shape).metadata
        assert metadata.inputs["in_FP32"].shape == (-1, -1, 3)
    for role, spec, words in [
        ("inputs", ("x", "FP32", (-1,)), "input 'x' is declared, but the model has in_FP32; correct the declaration"),
        ("inputs", ("in_FP32", "FP64", (-1, -1, 3)), r"'in_FP32' is declared as FP64 \[-1, -1, 3\], but is FP32 \[-1"),
        ("inputs", ("in_FP32", "FP32", (-1, 3)), r"declared as FP32 \[-1, 3\], but is FP32 \[-1, -1, 3\] in the model"),
        ("outputs", ("out_FP32", "FP32", (-1, -1, 4)), r"output 'out_FP32' is declared as FP32 \[-1, -1, 4\], but is"),
    ]:
        with pytest.raises(ModelInvalid, match=words):
            declared(role, *spec)


def test_memory_is_the_size_of_the_file(tmp_path: Path) -> None:
    file = models.perceptron(tmp_path / "m.onnx")
    (tmp_path / "w.bin").write_bytes(b"not named by the model")
    assert load(file).memory == file.stat().st_size


def test_the_runs_own_function_is_taken_where_there_is_one(tmp_path: Path) -> None:
    session = ort.InferenceSession(str(models.perceptron(tmp_path / "m.onnx")), providers=["CPUExecutionProvider"])
    assert direct(session) == session._sess.run

    class Later:
        def run(self) -> None: ...

    later = Later()
    assert direct(later) == later.run


def test_one_reply_is_no_stream(tmp_path: Path) -> None:
    with pytest.raises(InferenceFailed, match="model 'm' gives one reply to a request; it cannot stream"):
        load(models.echo(tmp_path / "m.onnx")).stream({}, [], {})


def test_a_closed_model_lets_go_of_its_session(tmp_path: Path) -> None:
    backend = load(models.perceptron(tmp_path / "m.onnx"))
    assert isinstance(backend, OnnxBackend)
    session = weakref.ref(backend._session)
    backend.close()
    assert session() is None
