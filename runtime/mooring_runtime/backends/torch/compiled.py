"""torch.compile, where the settings ask for it."""

from collections.abc import Callable
from contextlib import suppress
from typing import Any

import numpy as np
import torch

from mooring_runtime.backends.base import Backend, LoadOptions
from mooring_runtime.backends.torch.backend import log, words
from mooring_runtime.errors import RequestError
from mooring_runtime.messages import DATATYPES, Array, TensorSpec


def compiled(module: Any, options: LoadOptions) -> Callable[..., Any]:
    """`module` translated at its first run, for every size at once; run as it is where that fails.

    The translation needs a C++ compiler and a directory to write to, which a small image lacks: without it the model
    is slower, and no request may fail for that.
    """
    # By `dynamic` the sizes of batches stay free; else each new one would be translated, for seconds, at a request.
    quick = torch.compile(module, dynamic=True)
    chosen: list[Callable[..., Any]] = [quick]

    def run(*args: Any, **kwargs: Any) -> Any:
        if chosen[0] is module:
            return module(*args, **kwargs)
        try:
            return quick(*args, **kwargs)
        except Exception as error:
            if not type(error).__module__.startswith(("torch._dynamo", "torch._inductor")):
                raise
            log.error("model '%s' runs uncompiled: torch.compile failed: %s", options.name, words(error))
            chosen[0] = module
            return module(*args, **kwargs)

    return run


def translate_now(backend: Backend) -> None:
    """Run one sample and two, on zeros: a size of 1 is translated apart from all others, each for seconds."""
    metadata = backend.metadata
    for samples in (1, 2) if metadata.batched else (1,):
        with suppress(RequestError):  # Not every model takes zeros; then its first requests wait.
            backend.infer(
                {name: _zeros(spec, samples) for name, spec in metadata.inputs.items()}, metadata.output_names
            )


def _zeros(spec: TensorSpec, samples: int) -> Array:
    shape = [1 if size < 0 else size for size in spec.shape]
    if spec.shape[:1] == (-1,):
        shape[0] = samples
    return np.zeros(shape, DATATYPES[spec.datatype].dtype)
