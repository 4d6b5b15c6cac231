"""What is loaded: models, their versions and their state. Knows backends only by the Protocol in `backends.base`."""

from mooring_runtime.repository.models import Model, ModelSource, Repository, State

__all__ = ["Model", "ModelSource", "Repository", "State"]
