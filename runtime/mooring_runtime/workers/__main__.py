"""One worker: `python -m mooring_runtime.workers FD NUMBER early|late`, which the supervisor alone calls.

FD is the worker's end of the socket pair between them; `early` says that it listens before its models are loaded.
"""

import logging
import os
import signal
import socket
import sys
from contextlib import suppress

from mooring_runtime.errors import FatalError
from mooring_runtime.server import serve
from mooring_runtime.settings import ServeSettings, load, logs, sagemaker
from mooring_runtime.workers.link import error_on_wire, framed
from mooring_runtime.workers.member import Crew


def main(arguments: list[str]) -> int:
    """Serve; the exit code."""
    # As in the supervisor: a SIGTERM that comes before the server listens to it.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    end = socket.socket(fileno=int(arguments[0]))
    settings = load(ServeSettings, sagemaker.adapted(os.environ))  # The supervisor has read the same.
    logs.configure(settings.log_level, settings.log_format)
    _number_lines(int(arguments[1]))
    last_words = end.dup()
    end.setblocking(False)
    try:
        serve(settings, Crew(end, at_once=arguments[2] == "early"))
    except FatalError as error:
        with suppress(OSError):
            last_words.setblocking(True)
            last_words.sendall(framed({"tell": "fatal", "value": error_on_wire(error)}))
        return error.exit_code
    return 0


def _number_lines(number: int) -> None:
    """Let each line of the log tell which worker has written it."""

    def mark(record: logging.LogRecord) -> bool:
        record.worker = number
        return True

    for handler in logging.getLogger().handlers:
        handler.addFilter(mark)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
