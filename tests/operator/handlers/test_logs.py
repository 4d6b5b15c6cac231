"""Logs are one JSON object a line, and a dozen watches do not fill them."""

import json
import logging
import sys

import pytest

from mooring_operator.handlers.logs import JSONFormatter, SeldomAttempts


def record(message: str, *arguments: object, error: bool = False) -> logging.LogRecord:
    trace = sys.exc_info() if error else None
    return logging.LogRecord("mooring_operator.work", logging.WARNING, __file__, 1, message, arguments, trace)


def test_one_line_holds_everything() -> None:
    line = JSONFormatter().format(record("round of %s failed:\n%s", "models/a", "ümlaut"))
    assert "\n" not in line
    entry = json.loads(line)
    assert entry.keys() == {"time", "level", "logger", "message"}
    assert (entry["level"], entry["logger"]) == ("WARNING", "mooring_operator.work")
    assert entry["message"] == "round of models/a failed:\nümlaut"
    assert entry["time"].endswith("+00:00")


def test_a_traceback_is_kept() -> None:
    try:
        json.loads("no JSON")
    except ValueError:
        line = JSONFormatter().format(record("failed", error=True))
    assert "\n" not in line
    assert json.loads(line)["exception"].endswith("Expecting value: line 1 column 1 (char 0)")


@pytest.mark.parametrize(("attempt", "written"), [(1, False), (2, False), (3, True), (4, False), (30, True)])
def test_attempts_are_told_seldom(attempt: int, written: bool) -> None:
    assert SeldomAttempts().filter(record(f"Request attempt #{attempt}/603 failed; will retry: GET /x")) is written


def test_all_else_is_told() -> None:
    assert SeldomAttempts().filter(record("cannot fill the cache"))
