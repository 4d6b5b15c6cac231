"""`python -m mooring_runtime serve | check | fetch`: parse, read the settings, start; and say why it failed."""

import argparse
import logging
import os
import signal
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import NoReturn

from mooring_runtime import settings as environment
from mooring_runtime.errors import FatalError, SettingsInvalid
from mooring_runtime.errors.termination import leave_termination_message
from mooring_runtime.settings import FetchSettings, ProcessSettings, ServeSettings, logs

COMMANDS: dict[str, tuple[str, type[ProcessSettings], str]] = {
    "serve": ("mooring_runtime.server", ServeSettings, "serve a model until SIGTERM"),
    "check": ("mooring_runtime.server", ServeSettings, "tell whether `serve` could load the model, and end"),
    "fetch": ("mooring_runtime.fetcher", FetchSettings, "download a model's file and check its digest"),
}
"""Module, settings and purpose of each; a command imports only what it needs."""

log = logging.getLogger("mooring_runtime")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; the exit code: 0 done, 1 failed, 2 wrong settings."""
    # A container's first process is not ended by a SIGTERM that it has no handler for, not even while it imports.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        command = _parser().parse_args(arguments).command
        module, settings_type, _ = COMMANDS[command]
        settings = environment.load(settings_type, os.environ)
        logs.configure(settings.log_level, settings.log_format)
        for sentence in environment.unknown(os.environ, ServeSettings, FetchSettings):
            log.warning(sentence)
        getattr(import_module(module), command)(settings)
    except environment.SettingsError as wrong:
        return _give_up(SettingsInvalid(str(wrong)))
    except FatalError as error:
        return _give_up(error)
    return 0


def _give_up(error: FatalError) -> int:
    log.error("%s: %s", error.reason, error)
    leave_termination_message(environment.termination_log(os.environ), error)
    return error.exit_code


class _Parser(argparse.ArgumentParser):
    """Tells a wrong argument as it tells a wrong variable: in a pod nobody reads the usage on standard error."""

    def error(self, message: str) -> NoReturn:
        raise SettingsInvalid(f"{message}; there are no flags, everything is set by environment variables")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="mooring_runtime", description="The model server of Mooring.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="serve | check | fetch")
    for name, (_, settings_type, purpose) in COMMANDS.items():
        table = "It is set up by environment variables:\n\n" + environment.describe(settings_type)
        layout = argparse.RawDescriptionHelpFormatter
        commands.add_parser(name, help=purpose, description=purpose, epilog=table, formatter_class=layout)
    return parser


if __name__ == "__main__":
    sys.exit(main())
