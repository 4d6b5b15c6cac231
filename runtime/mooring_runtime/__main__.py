"""`python -m mooring_runtime serve | check | fetch`: read the settings, start; and say why it failed.

`sessions` is for people at a terminal: it has flags, and tells them what is wrong instead of the pod's status.
"""

import logging
import os
import signal
import sys
from collections.abc import Sequence
from importlib import import_module

from mooring_runtime import settings as environment
from mooring_runtime.errors import FatalError, SettingsInvalid
from mooring_runtime.errors.termination import leave_termination_message
from mooring_runtime.settings import FetchSettings, ProcessSettings, ServeSettings, command_line, logs, sagemaker

COMMANDS: dict[str, tuple[type[ProcessSettings], str]] = {
    "serve": (ServeSettings, "serve a model until SIGTERM"),
    "check": (ServeSettings, "tell whether `serve` could load the model, and end"),
    "fetch": (FetchSettings, "download a model's file and check its digest"),
}
MODULES = {"serve": "mooring_runtime.workers", "check": "mooring_runtime.server", "fetch": "mooring_runtime.fetcher"}
"""Where each command's function is; a command imports only what it needs."""
SESSIONS = "sessions"

log = logging.getLogger(__package__)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; the exit code: 0 done, 1 failed, 2 wrong settings."""
    # A container's first process is not ended by a SIGTERM that it has no handler for, not even while it imports.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    words = sys.argv[1:] if arguments is None else arguments
    if words[:1] == [SESSIONS]:
        code: int = import_module("mooring_runtime.session_cli").main(words[1:])
        return code
    try:
        command = command_line.parse("mooring_runtime", COMMANDS, words, {SESSIONS: "look at sessions and change them"})
        settings = environment.load(COMMANDS[command][0], sagemaker.adapted(os.environ))
        logs.configure(settings.log_level, settings.log_format)
        for sentence in environment.unknown(os.environ, ServeSettings, FetchSettings):
            log.warning(sentence)
        getattr(import_module(MODULES[command]), command)(settings)
    except environment.SettingsError as wrong:
        return _give_up(SettingsInvalid(str(wrong)))
    except FatalError as error:
        return _give_up(error)
    return 0


def _give_up(error: FatalError) -> int:
    log.error("%s: %s", error.reason, error)
    leave_termination_message(environment.termination_log(os.environ), error)
    return error.exit_code


if __name__ == "__main__":
    sys.exit(main())
