"""What each command does: asks, writes, and tells how it went by its exit code."""

import argparse
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, BinaryIO, TextIO

import orjson

from mooring_runtime.session_cli import arguments, shown
from mooring_runtime.session_cli.api import Api, Failed, path_of
from mooring_runtime.sessions.listing import MOST_ROWS, Query

DONE, FAILED, PARTLY = 0, 1, 3
"""Exit codes; 2 is argparse's, of a wrong command line. PARTLY: some replicas did not answer, their sessions lack."""

_STANDARD = Path("-")
_FIRST_STEPS = 100
"""Steps that a trace keeps when nobody says."""


class Streams:
    """Where a command reads and writes; those of the process, but in tests."""

    def __init__(self, out: TextIO, error: TextIO, stdin: BinaryIO, stdout: BinaryIO) -> None:
        self._out = out
        self._error = error
        self.stdin = stdin
        self.stdout = stdout

    def line(self, text: str) -> None:
        """For who reads what was asked for."""
        self._out.write(f"{text}\n")

    def document(self, document: object) -> None:
        """The same, as JSON over several lines."""
        self.line(orjson.dumps(document, option=orjson.OPT_INDENT_2).decode())

    def warn(self, text: str) -> None:
        """For people, beside what was asked for."""
        self._error.write(f"{text}\n")


def main(words: Sequence[str], streams: Streams | None = None) -> int:
    """Run one command; the exit code."""
    streams = streams or Streams(sys.stdout, sys.stderr, sys.stdin.buffer, sys.stdout.buffer)
    try:
        given = arguments.parse(words)
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else FAILED
    try:
        if given.volume is not None:
            return _on_volume(given, streams)
        with closing(Api(given.server, _token(os.environ), given.ca_file)) as api:
            return _COMMANDS[given.command](api, given, streams)
    except Failed as failed:
        streams.warn(f"mooring-runtime sessions {given.command}: {failed}")
        return FAILED
    except BrokenPipeError:
        return FAILED


def _token(environment: Mapping[str, str]) -> str | None:
    token = environment.get("MOORING_SESSION_TOKEN", "").strip()
    file = environment.get("MOORING_SESSION_TOKEN_FILE", "").strip()
    if token or not file:
        return token or None
    try:
        return Path(file).read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise Failed(f"cannot read the token: {error}; MOORING_SESSION_TOKEN_FILE names its file") from None


def _on_volume(given: argparse.Namespace, streams: Streams) -> int:
    # Imported here: the other commands need no store.
    from mooring_runtime.session_cli.volume import opened  # noqa: PLC0415

    with opened(given.volume) as volume:
        if given.command == "show":
            streams.document(volume.detail(given.id, given.model))
        elif given.command == "export":
            _write(volume.export(given.id, given.model), given, streams)
        else:
            query = Query(given.model, given.state, given.prefix, given.limit)
            rows, more = volume.rows(query)
            _tell_rows(rows, given, streams, more=more)
            for key, text in volume.set_aside().items():
                streams.warn(f"set aside: session '{shown.name(key.session)}' of model '{key.model}': {text}")
    return DONE


def _list(api: Api, given: argparse.Namespace, streams: Streams) -> int:
    rows: list[dict[str, Any]] = []
    unanswered: dict[int, str] = {}
    token: str | None = None
    while len(rows) < given.limit:
        limit = str(min(given.limit - len(rows), MOST_ROWS))
        parameters = {"model": given.model, "state": given.state, "prefix": given.prefix or None, "limit": limit}
        page = api.json("GET", "/v2/sessions", {**parameters, "page_token": token})
        rows += page["sessions"]
        unanswered.update({each["ordinal"]: each["error"] for each in page["unanswered"]})
        token = page["next_page_token"]
        if token is None:
            break
    _tell_rows(rows, given, streams, more=token is not None)
    for ordinal, error in sorted(unanswered.items()):
        streams.warn(f"ordinal {ordinal} did not answer, so its sessions are not listed: {error}")
    return PARTLY if unanswered else DONE


def _tell_rows(rows: list[dict[str, Any]], given: argparse.Namespace, streams: Streams, *, more: bool) -> None:
    if given.json:
        for row in rows:
            streams.line(orjson.dumps(row).decode())
    else:
        streams.line(shown.table(rows))
    if more:
        streams.warn(f"there are more than {given.limit}; --limit tells them too")


def _show(api: Api, given: argparse.Namespace, streams: Streams) -> int:
    streams.document(api.json("GET", path_of(given.id), {"model": given.model}))
    return DONE


def _export(api: Api, given: argparse.Namespace, streams: Streams) -> int:
    _write(api.bytes("GET", path_of(given.id, "export"), {"model": given.model}), given, streams)
    return DONE


def _write(data: bytes, given: argparse.Namespace, streams: Streams) -> None:
    path = given.output
    if path == _STANDARD:
        streams.stdout.write(data)
        streams.stdout.flush()
        return
    if path is None:
        path = Path("".join(each if each.isalnum() or each in "._-" else "_" for each in given.id)[:100] + ".session")
    try:
        with path.open("xb") as file:
            file.write(data)
    except OSError as error:
        raise Failed(f"cannot write {path}: {error.strerror or error}; choose another by --output") from None
    streams.warn(f"{path}: {shown.size(len(data))}")


def _import(api: Api, given: argparse.Namespace, streams: Streams) -> int:
    try:
        data = streams.stdin.read() if given.file == _STANDARD else given.file.read_bytes()
    except OSError as error:
        raise Failed(f"cannot read {given.file}: {error.strerror or error}") from None
    answer = api.bytes("POST", "/v2/sessions/import", {"id": given.id, "model": given.model}, data)
    streams.document(orjson.loads(answer))
    return DONE


def _fork(api: Api, given: argparse.Namespace, streams: Streams) -> int:
    streams.document(api.json("POST", path_of(given.id, "fork"), {"model": given.model}, {"id": given.to}))
    return DONE


def _reset(api: Api, given: argparse.Namespace, streams: Streams) -> int:
    streams.document(api.json("POST", path_of(given.id, "reset"), {"model": given.model}))
    return DONE


def _end(api: Api, given: argparse.Namespace, streams: Streams) -> int:
    streams.document(api.json("POST", path_of(given.id, "end"), {"model": given.model}))
    return DONE


def _drop(api: Api, given: argparse.Namespace, streams: Streams) -> int:
    streams.document(api.json("DELETE", path_of(given.id), {"model": given.model}))
    return DONE


def _trace(api: Api, given: argparse.Namespace, streams: Streams) -> int:
    path, parameters = path_of(given.id, "trace"), {"model": given.model}
    steps = given.steps
    trace = api.json("GET", path, parameters) if steps is None else None
    if trace is None or trace["keeps"] == 0:
        trace = api.json("POST", path, parameters, {"keep": _FIRST_STEPS if steps is None else steps})
    streams.document(trace)
    return DONE


_COMMANDS: Mapping[str, Callable[[Api, argparse.Namespace, Streams], int]] = {
    "list": _list,
    "show": _show,
    "export": _export,
    "import": _import,
    "fork": _fork,
    "reset": _reset,
    "end": _end,
    "drop": _drop,
    "trace": _trace,
}
