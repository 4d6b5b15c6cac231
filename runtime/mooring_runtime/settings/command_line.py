"""The command line: one word, the command, and `--help`; everything else is set by environment variables, but for the
commands that have a command line of their own.
"""

import argparse
from collections.abc import Mapping, Sequence
from typing import NoReturn

from mooring_runtime.settings.variables import SettingsError, describe


class _Parser(argparse.ArgumentParser):
    """Tells a wrong argument as it tells a wrong variable: in a pod nobody reads the usage on standard error."""

    def error(self, message: str) -> NoReturn:
        raise SettingsError(f"{message}; there are no flags, everything is set by environment variables")


def parse(
    program: str, commands: Mapping[str, tuple[type[object], str]], arguments: Sequence[str], others: Mapping[str, str]
) -> str:
    """The command. `commands` maps each to its settings class and its purpose, `others` those that read their own
    command line, which come here only in `--help`, to their purpose.

    Raises SettingsError for anything else, SystemExit after `--help`.
    """
    parser = _Parser(prog=program, description="The model server of Mooring.")
    subparsers = parser.add_subparsers(dest="command", required=True, metavar=" | ".join((*commands, *others)))
    for name, (settings_type, purpose) in commands.items():
        told = f"{purpose}\n\nIt is set up by environment variables:\n\n{describe(settings_type)}"
        layout = argparse.RawDescriptionHelpFormatter
        subparsers.add_parser(name, help=purpose, description=told, formatter_class=layout)
    for name, purpose in others.items():
        subparsers.add_parser(name, help=f"{purpose}; see `{name} --help`", add_help=False)
    command: str = parser.parse_args(arguments).command
    return command
