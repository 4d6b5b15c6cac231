"""Models written in Python: a class in `model.py`, off unless the settings allow to run code that comes with a model.

    class Model:
        inputs = {"text": ("BYTES", [-1])}            # or in mooring.json
        outputs = {"length": ("INT64", [-1])}
        batch = True                                  # requests may share a call; by default they do not

        def load(self, context):                      # optional: a `Context`; read weights here
            self.weights = context.directory / "weights.npy"

        def predict(self, inputs):                    # dict of arrays in, dict of arrays out
            return {"length": np.array([len(text) for text in inputs["text"]])}

        def close(self):                              # optional
            ...

- A `predict` that yields is *decoupled*: each dict it yields is an answer of its own.
- A `predict` that takes a second argument gets the client's own parameters in it.
- BYTES are object arrays of `bytes`; BF16 is carried as uint16. Arrays may be written to.
- `raise ModelRefused("...")` (of `mooring_runtime.errors`) tells the client that its tensors are at fault; any other
  exception is the model's own failure, is logged with its traceback, and the server goes on.
- Files beside `model.py` are imported relatively: `from .tokens import split`.
- `self.device` and `self.memory` (bytes), when set by `load`, are what the server tells of the model.

    file     imports model.py and finds the class
    specs    what the class declares that it takes and gives
    replies  holds what predict returns against that
    backend  runs it
"""

from mooring_runtime.backends.python.backend import load
from mooring_runtime.backends.python.file import Context

__all__ = ["Context", "load"]
