"""Which variant of the runtime's image serves a model, where the spec does not say so itself."""

from .v1alpha1 import InferenceServiceSpec, Variant


def variant(spec: InferenceServiceSpec) -> Variant:
    """Return the variant that the spec names, or the one that follows from its format and accelerator."""
    if spec.runtime.variant is not None:
        return spec.runtime.variant
    if spec.model.format in {"torchscript", "torch-export"}:
        return "torch"
    # Without a format the server infers it, and ONNX is the only one that needs no permission to run code.
    if spec.model.format in {None, "onnx"} and spec.accelerator is not None:
        return "onnx-gpu"
    return "onnx"


def check_variant(spec: InferenceServiceSpec) -> Variant:
    """Return the variant that can try the model on a CPU: the GPU libraries of the other are of no use there."""
    chosen = variant(spec)
    return "onnx" if chosen == "onnx-gpu" else chosen
