"""What is loaded: models, their versions and their state. Knows backends only by the Protocol in `backends.base`.

`layout` finds models on disk, `config` reads what is said of them, `loading` makes backends of them, `models` is the
table of what is there, and `manager` changes it while the server serves. `state` says which of a model's tensors are
its state, `stateful` runs such a model, `converter` takes over the states of another version.
"""

from mooring_runtime.repository.layout import VERSION, ModelDirectory, ModelSource, SingleModel, Stock, stock_of, wanted
from mooring_runtime.repository.loading import load_backend, options_of
from mooring_runtime.repository.manager import Manager
from mooring_runtime.repository.models import Entry, IndexEntry, Model, Repository, State

__all__ = [
    "VERSION",
    "Entry",
    "IndexEntry",
    "Manager",
    "Model",
    "ModelDirectory",
    "ModelSource",
    "Repository",
    "SingleModel",
    "State",
    "Stock",
    "load_backend",
    "options_of",
    "stock_of",
    "wanted",
]
