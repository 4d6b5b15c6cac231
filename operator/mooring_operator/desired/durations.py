"""Durations as the runtime reads them."""

import re

from ..api.quantities import seconds


def duration(text: str) -> str:
    """Return a duration of the spec with one number and one unit: the spec also takes several, as in 1h30m."""
    if re.fullmatch(r"[0-9]{1,9}([.][0-9]{1,9})?(us|ms|s|m|h)", text):
        return text
    return f"{seconds(text):.6f}".rstrip("0").rstrip(".") + "s"
