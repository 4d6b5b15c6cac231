"""The composition root and the life of the model server: start -> ready -> drain -> stop."""

from mooring_runtime.server.check import check
from mooring_runtime.server.serve import serve

__all__ = ["check", "serve"]
