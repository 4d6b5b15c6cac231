"""Which variant of the runtime's image serves a model, where the spec does not say so itself."""

from pathlib import PurePosixPath
from typing import Final
from urllib.parse import urlsplit

from .v1alpha1 import InferenceServiceSpec, Variant

_TORCH_FORMATS: Final = {"torchscript", "torch-export"}
_TORCH_SUFFIXES: Final = {".pt2", ".pt", ".pth", ".jit"}


def variant(spec: InferenceServiceSpec) -> Variant:
    """Return the variant that the spec names, or the one that follows from its format and accelerator."""
    if spec.runtime.variant is not None:
        return spec.runtime.variant
    # Without a format the server infers it from the file's name, which an oci:// reference does not tell.
    suffix = PurePosixPath(urlsplit(spec.model.uri).path).suffix
    if spec.model.format in _TORCH_FORMATS or (spec.model.format is None and suffix in _TORCH_SUFFIXES):
        return "torch"
    if spec.model.format in {None, "onnx"} and spec.accelerator is not None:
        return "onnx-gpu"
    return "onnx"


def check_variant(spec: InferenceServiceSpec) -> Variant:
    """Return the variant that can try the model on a CPU: the GPU libraries of the other are of no use there."""
    chosen = variant(spec)
    return "onnx" if chosen == "onnx-gpu" else chosen
