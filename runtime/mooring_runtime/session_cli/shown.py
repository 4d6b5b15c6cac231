"""How sessions look on a terminal. Pure."""

from collections.abc import Sequence
from typing import Any

_COLUMNS = ("ID", "MODEL", "STATE", "OWNER", "STEP", "BYTES", "VERSION", "AGE", "IDLE", "EXPIRES")
_NUMBERS = ("OWNER", "STEP", "BYTES", "AGE", "IDLE", "EXPIRES")


def table(rows: Sequence[dict[str, Any]]) -> str:
    """Rows of the list as a table with a head."""
    cells = [_COLUMNS, *(_cells(row) for row in rows)]
    widths = [max(len(row[place]) for row in cells) for place in range(len(_COLUMNS))]
    lines = []
    for row in cells:
        padded = (
            text.rjust(width) if name in _NUMBERS else text.ljust(width)
            for name, text, width in zip(_COLUMNS, row, widths, strict=True)
        )
        lines.append("  ".join(padded).rstrip())
    return "\n".join(lines)


def _cells(row: dict[str, Any]) -> tuple[str, ...]:
    state = f"{row['state']} ({row['cause']})" if row.get("cause") else row["state"]
    owner = "-" if row["owner"] < 0 else str(row["owner"])
    left = row["expires_in_seconds"]
    return (
        name(row["id"]),
        name(row["model"]),
        state,
        owner,
        "-" if row["step"] is None else str(row["step"]),
        "-" if row["bytes"] is None else size(row["bytes"]),
        row["version"] or "-",
        "-" if row["age_seconds"] is None else span(row["age_seconds"]),
        "-" if row["idle_seconds"] is None else span(row["idle_seconds"]),
        ("never" if row["step"] is not None else "-") if left is None else span(left),
    )


def name(text: str) -> str:
    """A name that a client chose: whatever a terminal might take for a command stands there as an escape."""
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in text)


def size(count: int) -> str:
    """Bytes, as people read them: `4.0 KiB`."""
    amount = float(count)
    for unit in ("B", "KiB", "MiB"):
        if amount < 1024:
            return f"{amount:.0f} {unit}" if unit == "B" else f"{amount:.1f} {unit}"
        amount /= 1024
    return f"{amount:.1f} GiB"


def span(seconds: float) -> str:
    """A time span by its two largest units: `2h05m`."""
    whole = int(seconds)
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m{whole % 60:02}s"
    if whole < 86400:
        return f"{whole // 3600}h{whole % 3600 // 60:02}m"
    return f"{whole // 86400}d{whole % 86400 // 3600:02}h"
