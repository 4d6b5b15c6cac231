"""ONNX models by onnxruntime, on the CPU or, where onnxruntime has it, on a GPU.

    session       loads a file and says what it takes and gives
    providers     chooses TensorRT, CUDA or the CPU, and tells when a GPU that should serve does not
    backend       runs it; strings and bfloat16, which onnxruntime's Python carries in ways of its own
    initializers  what a file has for inputs that it may be given as well
    recorded      runs by IO binding between buffers that stay, with the launches of a shape recorded as a CUDA graph
    resident      keeps states of sessions on the device from step to step
    graphs        the small models that do it, made of bytes

Safe by construction: no library of custom operators is ever registered, so a model that needs one fails to load, and
onnxruntime itself refuses external data outside the model's directory (absolute, by `..` or by a link).
"""

from mooring_runtime.backends.onnx.session import load

__all__ = ["load"]
