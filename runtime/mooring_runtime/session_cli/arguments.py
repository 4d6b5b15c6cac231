"""The command line of `sessions`."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from mooring_runtime.sessions.listing import MOST_ROWS, STATES
from mooring_runtime.sessions.trace import MOST_STEPS

DEFAULT_SERVER = "http://127.0.0.1:8000"

_ABOUT = f"""\
Look at sessions and change them.

By default it asks the server on this machine, {DEFAULT_SERVER}; any replica of a service will do. What changes a
session or hands out its state needs the token of MOORING_SESSION_TOKEN_FILE of the server, or its peer port and token:
set MOORING_SESSION_TOKEN to it, or MOORING_SESSION_TOKEN_FILE to a file that holds it.

With --volume it reads a volume that no server has open: one that was lost and found, or a store that was set aside.
"""


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """The words of the command line. Raises SystemExit after `--help` and for what is wrong, which it tells."""
    parser = argparse.ArgumentParser(
        prog="mooring-runtime sessions", description=_ABOUT, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    either, server = _place(volume=True), _place(volume=False)

    def command(name: str, purpose: str, place: argparse.ArgumentParser, *, of_one: bool = True) -> _Command:
        made = commands.add_parser(name, help=purpose, description=purpose, parents=[place])
        if of_one:
            made.add_argument("id", help="the session's id")
            made.add_argument("--model", help="its model; may be left out where there is one model that keeps state")
        return made

    found = command("list", "list sessions", either, of_one=False)
    found.add_argument("--model", help="of this model only")
    found.add_argument("--state", choices=STATES, help="in this state only")
    found.add_argument("--prefix", default="", help="whose ids begin so")
    found.add_argument("--limit", type=_whole(1, 10**9), default=MOST_ROWS, help="at most so many (%(default)s)")
    found.add_argument("--json", action="store_true", help="one JSON object a line")

    command("show", "show all that is known of a session, as JSON", either)
    exported = command("export", "write a session into a file that `import` takes", either)
    exported.add_argument(
        "--output", type=Path, help="the file, which must not be there yet (ID.session); -: standard output"
    )

    imported = command("import", "make a session of an exported file", server, of_one=False)
    imported.add_argument("file", type=Path, help="the file; -: stdin")
    imported.add_argument("--id", help="another id than the file's; new: one that the server makes")
    imported.add_argument("--model", help="another model than the file's")

    forked = command("fork", "make another session that goes on from where this one stands", server)
    forked.add_argument("--to", default="new", help="id of the other one; new (the default): one that the server makes")
    command("reset", "let a session begin anew, at step 1 and with the first state", server)
    command("end", "end a session", server)
    command("drop", "delete what is left of a session that was set aside, because it is torn", server)
    traced = command("trace", "show the last steps of a session, as JSON; the first time begins to keep them", server)
    traced.add_argument(
        "--steps", type=_whole(0, MOST_STEPS), help="keep so many steps from now on (100 the first time); 0: no longer"
    )
    return parser.parse_args(list(arguments))


_Command = argparse.ArgumentParser


def _place(*, volume: bool) -> argparse.ArgumentParser:
    """What commands have in common: where the sessions are."""
    place = argparse.ArgumentParser(add_help=False)
    group = place.add_mutually_exclusive_group()
    group.add_argument("--server", default=DEFAULT_SERVER, help="address of a server (%(default)s)")
    if volume:
        group.add_argument("--volume", type=Path, help="directory of a volume that no server has open")
    else:
        place.set_defaults(volume=None)
    place.add_argument("--ca-file", type=Path, help="authorities (PEM) that have signed the server's certificate")
    return place


class _whole:  # noqa: N801 - argparse names it in what it tells
    """A whole number between two others."""

    def __init__(self, least: int, most: int) -> None:
        self._least = least
        self._most = most

    def __call__(self, text: str) -> int:
        if text.isascii() and text.isdigit() and len(text) < 20 and self._least <= int(text) <= self._most:
            return int(text)
        raise argparse.ArgumentTypeError(f"'{text}' must be a whole number from {self._least} to {self._most}")
