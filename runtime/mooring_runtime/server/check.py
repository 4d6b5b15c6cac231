"""`check`: is this model one that `serve` could load? Run by a Job before a swap that has no spare pod."""

import logging

from mooring_runtime.backends.base import LoadOptions, loader
from mooring_runtime.repository import VERSION, ModelSource, load_backend
from mooring_runtime.settings import ServeSettings

log = logging.getLogger(__name__)


def check(settings: ServeSettings) -> None:
    """Find the file, check its digest and load it on a CPU. Raises the FatalError that says what is wrong."""
    assert settings.model_path is not None
    source = ModelSource(settings.model_path, settings.model_format, settings.model_sha256)
    options = LoadOptions(settings.model_name, VERSION, settings.threads, accelerator=False)
    metadata = load_backend(source, options, loader).metadata
    log.info("model '%s' can be served: inputs %s", metadata.name, ", ".join(metadata.inputs))
