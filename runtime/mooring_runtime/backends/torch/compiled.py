"""torch.compile, where the settings ask for it."""

from collections.abc import Callable
from typing import Any

import torch

from mooring_runtime.backends.base import LoadOptions
from mooring_runtime.backends.torch.backend import log, words


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
