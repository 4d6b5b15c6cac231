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
- A class with `state = {"sum": ("FP32", [8])}` keeps that between the steps of a session. Its
  `predict(self, inputs, state)` returns `(outputs, state)`; the parameters, where it takes them, come last.
  `initial_state(self)`, optional, returns the first state of one session, which else is zeros. `end(self, session,
  state, cause)`, optional, is told that a session has ended, on another thread, perhaps while `predict` runs.
  A size of -1 may differ from step to step. With `batch = True` the first size of a state is -1 and counts sessions, as
  that of the inputs does, `[-1, 8]`; `initial_state` and `end` then have 1 there.
- BYTES are object arrays of `bytes`; BF16 is carried as uint16. Arrays may be written to.
- `raise ModelRefused("...")` (of `mooring_runtime.errors`) tells the client that its tensors are at fault; any other
  exception is the model's own failure, is logged with its traceback, and the server goes on.
- Files beside `model.py` are imported relatively: `from .tokens import split`.
- `self.device` and `self.memory` (bytes), when set by `load`, are what the server tells of the model.

    file       imports model.py and finds the class
    specs      what the class declares that it takes and gives
    replies    holds what predict returns against that
    backend    runs it
    converter  imports convert.py, which makes states of another version into those of this one
"""

from mooring_runtime.backends.python.backend import load
from mooring_runtime.backends.python.file import Context

__all__ = ["Context", "load"]
