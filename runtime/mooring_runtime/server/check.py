"""`check`: are these models ones that `serve` could load? Run by a Job before a swap that has no spare pod."""

import logging

from mooring_runtime.backends.base import loader
from mooring_runtime.repository import load_backend, options_of, stock_of, wanted
from mooring_runtime.settings import ServeSettings

log = logging.getLogger(__name__)


def check(settings: ServeSettings) -> None:
    """Find the files, check their digest and load them on a CPU. Raises the FatalError that says what is wrong."""
    stock = stock_of(settings)
    names, _ = wanted(stock, settings)
    for name in names:
        for source in stock.read(name):
            chosen = source.under(settings)
            backend = load_backend(chosen, options_of(name, chosen, settings, accelerator=False), loader).backend
            log.info("model '%s' can be served: inputs %s", name, ", ".join(backend.metadata.inputs))
            backend.close()
