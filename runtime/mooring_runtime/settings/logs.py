"""How a process logs: one JSON object a line for machines, or plain text for a terminal; always to standard error.

What is logged can be changed while the process runs (`/v2/logging`): `switches` holds a switch for each level.
"""

import json
import logging
import sys
import time
from collections.abc import Mapping

ACCESS = "mooring_runtime.access"
"""The logger of the access log: a line for each request, whatever the other lines' level is, for it was asked for."""
LAYOUTS = ("json", "text")

_PLAIN = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime"}


class JsonFormatter(logging.Formatter):
    """One object a line: time (UTC, milliseconds), level, logger, message, and whatever came as `extra=`."""

    def format(self, record: logging.LogRecord) -> str:
        """The record as one line of JSON."""
        seconds = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        entry: dict[str, object] = {
            "time": f"{seconds}.{int(record.msecs):03d}Z",
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        entry.update({key: value for key, value in vars(record).items() if key not in _PLAIN})
        if record.exc_info:
            entry["traceback"] = self.formatException(record.exc_info)
        return json.dumps(entry, default=str, ensure_ascii=False)


class TextFormatter(logging.Formatter):
    """A line for a person; what came as `extra=` follows as `key=value`, so that the access log is whole here too."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s: %(message)s")

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - the name is logging's
        """The line before a traceback."""
        more = [f" {key}={value}" for key, value in vars(record).items() if key not in _PLAIN]
        return super().formatMessage(record) + "".join(more)


class Switches(logging.Filter):
    """Lets a line pass when the switch of its level is on; the switches are those that V2's logging extension has."""

    def __init__(self) -> None:
        super().__init__()
        self.debug = False
        self.info = self.warning = self.error = True
        self.layout = "json"

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the line is written."""
        if record.levelno >= logging.ERROR:
            return self.error
        if record.levelno >= logging.WARNING:
            return self.warning
        return record.name == ACCESS or (self.info if record.levelno >= logging.INFO else self.debug)

    def level(self) -> int:
        """The lowest level that is on, below which the loggers make no lines at all."""
        on: Mapping[int, bool] = {logging.DEBUG: self.debug, logging.INFO: self.info, logging.WARNING: self.warning}
        return next((level for level, is_on in on.items() if is_on), logging.ERROR)

    def apply(self) -> None:
        """Make the process log by these switches from now on."""
        formatter = JsonFormatter() if self.layout == "json" else TextFormatter()
        root = logging.getLogger()
        for handler in root.handlers:
            if self in handler.filters:
                handler.setFormatter(formatter)
        root.setLevel(self.level())


switches = Switches()
"""Those of this process."""


def configure(level: str, layout: str) -> None:
    """Set up the root logger for this process: lines of `level` and above, as `layout`."""
    least = logging.getLevelName(level)
    switches.debug, switches.info, switches.warning, switches.error = (
        least <= each for each in (logging.DEBUG, logging.INFO, logging.WARNING, logging.ERROR)
    )
    switches.layout = layout
    handler = logging.StreamHandler(sys.stderr)
    handler.addFilter(switches)
    logging.basicConfig(handlers=[handler], force=True)
    logging.getLogger(ACCESS).setLevel(logging.INFO)
    switches.apply()
