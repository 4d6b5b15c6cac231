"""Logs as one JSON object a line, or as text for people."""

import json
import logging
import re
import sys
from datetime import UTC, datetime

from ..settings import Settings


class JSONFormatter(logging.Formatter):
    """Writes time, level, logger, message and, if there is one, the traceback."""

    def format(self, record: logging.LogRecord) -> str:
        """Return one line."""
        entry = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            entry["exception"] = self.formatException(record.exc_info)
        return json.dumps(entry, ensure_ascii=False)


class SeldomAttempts(logging.Filter):
    """Lets through the third and every thirtieth attempt of a watch: there are a dozen, and each tells of each."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Tell whether a record is written."""
        attempt = re.match(r"Request attempt #(\d+)/", record.getMessage())
        return attempt is None or int(attempt[1]) == 3 or int(attempt[1]) % 30 == 0


def configure(settings: Settings) -> None:
    """Send all logs to standard error in the chosen format."""
    handler = logging.StreamHandler(sys.stderr)
    text = logging.Formatter("%(asctime)s %(levelname)-7s %(name)s: %(message)s")
    handler.setFormatter(JSONFormatter() if settings.log_format == "json" else text)
    handler.addFilter(SeldomAttempts())
    logging.basicConfig(level=settings.log_level, handlers=[handler], force=True)
    if settings.log_level != "DEBUG":
        # kopf tells of its own life at INFO; what it has to say of ours, it says at WARNING.
        logging.getLogger("kopf").setLevel(logging.WARNING)
