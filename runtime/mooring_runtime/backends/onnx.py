"""ONNX models by onnxruntime, on the CPU or, where onnxruntime has it, on a GPU.

Safe by construction: no library of custom operators is ever registered, so a model that needs one fails to load, and
onnxruntime itself refuses external data outside the model's directory (absolute, by `..` or by a link).
"""

import ctypes
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort

from mooring_runtime.backends.base import Backend, LoadOptions
from mooring_runtime.errors import InferenceFailed, ModelInvalid, ModelRefused
from mooring_runtime.messages import FROM_ONNX, Array, ModelMetadata, TensorSpec

PLATFORM = "onnxruntime_onnx"
"""As Triton names it."""
PROVIDERS = ("CUDAExecutionProvider", "CPUExecutionProvider")
"""Best first; those that this onnxruntime lacks are left out."""

_BFLOAT16 = 16
"""TensorProto.DataType of bfloat16, which numpy has not."""

log = logging.getLogger(__name__)


class OnnxBackend(Backend):
    """One session of onnxruntime."""

    def __init__(self, session: Any, metadata: ModelMetadata, memory: int) -> None:
        self._session = session
        self.metadata = metadata
        self.memory = memory
        self.device = session.get_providers()[0].removesuffix("ExecutionProvider")
        specs = (*metadata.inputs.values(), *metadata.outputs.values())
        self._texts = frozenset(spec.name for spec in metadata.inputs.values() if spec.datatype == "BYTES")
        self._text_out = frozenset(spec.name for spec in metadata.outputs.values() if spec.datatype == "BYTES")
        self._bfloat16 = any(spec.datatype == "BF16" for spec in specs)
        if self._bfloat16 and self._texts:
            raise ModelInvalid(
                f"model '{metadata.name}' takes BYTES and has BF16 tensors; onnxruntime's Python cannot carry both"
            )

    def infer(self, inputs: Mapping[str, Array], outputs: Sequence[str]) -> list[Array]:
        """Run once; see `Backend.infer`."""
        if self._texts:
            inputs = {name: _to_text(name, array) if name in self._texts else array for name, array in inputs.items()}
        try:
            results: list[Array] = (
                self._run_values(inputs, outputs) if self._bfloat16 else self._session.run(outputs, inputs)
            )
        except Exception as error:  # onnxruntime's exceptions share no base class but Exception.
            raise _translate(error) from error
        if self._text_out:
            results = [
                _to_bytes(array) if name in self._text_out else array
                for name, array in zip(outputs, results, strict=True)
            ]
        return results

    def _run_values(self, inputs: Mapping[str, Array], outputs: Sequence[str]) -> list[Array]:
        """The way for models with bfloat16, whose arrays `run` neither takes nor gives."""
        values = {
            name: ort.OrtValue.ortvalue_from_numpy_with_onnx_type(array, _BFLOAT16)
            if self.metadata.inputs[name].datatype == "BF16"
            else ort.OrtValue.ortvalue_from_numpy(array)
            for name, array in inputs.items()
        }
        results = self._session.run_with_ort_values(outputs, values)
        return [
            _from_bfloat16(value) if self.metadata.outputs[name].datatype == "BF16" else value.numpy()
            for name, value in zip(outputs, results, strict=True)
        ]


def _from_bfloat16(value: Any) -> Array:
    """A copy of the value's memory as uint16: onnxruntime gives no array of it."""
    shape = tuple(value.shape())
    array = np.empty(shape, dtype=np.uint16)
    ctypes.memmove(array.ctypes.data, value.data_ptr(), array.nbytes)
    return array


def _to_text(name: str, array: Array) -> Array:
    """BYTES to the `str` objects that onnxruntime takes; its strings are UTF-8."""
    flat = array.ravel()
    texts = np.empty(flat.size, dtype=object)
    for index, element in enumerate(flat):
        try:
            texts[index] = element.decode()
        except UnicodeDecodeError as error:
            raise ModelRefused(
                f"input '{name}', element {index} is not UTF-8 (byte {error.start}); strings of an ONNX model are"
            ) from None
    return texts.reshape(array.shape)


def _to_bytes(array: Array) -> Array:
    flat = np.empty(array.size, dtype=object)
    flat[:] = [element.encode() for element in array.ravel()]
    return flat.reshape(array.shape)


def _translate(error: Exception) -> ModelRefused | InferenceFailed:
    """onnxruntime tells its INVALID_ARGUMENT (the tensors) from every other failure (the model) by class name only."""
    text = str(error).removeprefix("[ONNXRuntimeError] : ").strip()
    if type(error).__name__ == "InvalidArgument":
        return ModelRefused(f"the model refused the input: {text}")
    return InferenceFailed(f"the model failed: {text}")


def load(file: Path, options: LoadOptions) -> Backend:
    """Load an ONNX file, its external data beside it. Raises ModelInvalid with onnxruntime's own words."""
    ort.disable_telemetry_events()
    available = ort.get_available_providers()
    wanted = PROVIDERS if options.accelerator else PROVIDERS[-1:]
    if options.accelerator and PROVIDERS[0] in available:
        # CUDA and cuDNN come as packages of pip, where the loader does not look; without this the session would run
        # on the CPU, and say so in its log only.
        ort.preload_dlls()
    try:
        session = ort.InferenceSession(
            str(file),
            _session_options(options.threads),
            providers=[provider for provider in wanted if provider in available],
        )
    except Exception as error:  # onnxruntime's exceptions share no base class but Exception.
        text = str(error).removeprefix("[ONNXRuntimeError] : ").strip()
        raise ModelInvalid(f"{file.name} is no model that onnxruntime {ort.__version__} can serve: {text}") from error
    inputs = tuple(_spec("input", file, argument) for argument in session.get_inputs())
    outputs = tuple(_spec("output", file, argument) for argument in session.get_outputs())
    metadata = ModelMetadata(options.name, options.version, PLATFORM, inputs, outputs)
    return OnnxBackend(session, metadata, file.stat().st_size)


def _session_options(threads: int) -> Any:
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    # Spinning threads answer a microsecond sooner and take the CPU from the event loop and from other pods.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_session_config_entry("session.inter_op.allow_spinning", "0")
    options.log_severity_level = 3
    return options


def _spec(role: str, file: Path, argument: Any) -> TensorSpec:
    """An input or output as V2 names it; symbolic and unknown sizes are -1."""
    datatype = FROM_ONNX.get(argument.type)
    if datatype is None:
        advice = "; export a classifier without ZipMap" if argument.type.startswith("seq(map(") else ""
        raise ModelInvalid(
            f"{file.name}: {role} '{argument.name}' is {argument.type}, which the V2 protocol cannot carry{advice}"
        )
    shape = tuple(size if isinstance(size, int) and size >= 0 else -1 for size in argument.shape)
    return TensorSpec(argument.name, datatype.name, shape)
