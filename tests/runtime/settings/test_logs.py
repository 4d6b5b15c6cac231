import json
import logging
import sys

from mooring_runtime.settings.logs import JsonFormatter


def record(message: str, *arguments: object, **extra: object) -> logging.LogRecord:
    made = logging.LogRecord("a.b", logging.WARNING, "f", 1, message, arguments, None)
    vars(made).update(extra)
    return made


def test_a_line_is_one_object_with_the_extras() -> None:
    text = JsonFormatter().format(record("got %s\n%d", "é", 2, http_port=8000))
    assert "\n" not in text
    line = json.loads(text)
    assert line["message"] == "got é\n2"
    assert (line["level"], line["logger"], line["http_port"]) == ("WARNING", "a.b", 8000)
    assert line["time"].endswith("Z")


def test_an_exception_is_in_the_line() -> None:
    made = record("failed")
    try:
        int("the reason")
    except ValueError:
        made.exc_info = sys.exc_info()
    assert "ValueError: invalid literal" in json.loads(JsonFormatter().format(made))["traceback"]
