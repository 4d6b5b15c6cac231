"""`serve` with any number of processes: one serves by itself, several have a supervisor.

Neither imports what only the other needs: the supervisor loads no framework, and a single server has none of this.
"""

from importlib import import_module

from mooring_runtime.settings import ServeSettings


def serve(settings: ServeSettings) -> None:
    """Serve until SIGTERM or SIGINT. Raises the FatalError that says why it cannot."""
    module = "mooring_runtime.server" if settings.workers == 1 else "mooring_runtime.workers.supervisor"
    import_module(module).serve(settings)
