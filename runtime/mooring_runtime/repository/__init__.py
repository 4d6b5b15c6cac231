"""What is loaded: models, their versions and their state. Knows backends only by the Protocol in `backends.base`."""

from mooring_runtime.repository.models import VERSION, Model, ModelSource, Repository, State, load_backend

__all__ = ["VERSION", "Model", "ModelSource", "Repository", "State", "load_backend"]
