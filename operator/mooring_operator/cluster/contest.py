"""When someone else keeps changing what we keep putting back: a bound on the fight. Pure; times are monotonic."""

from collections import deque
from typing import Final

from ..facts import Manifest

LIMIT: Final = 5
"""Times that a child is put back within `WINDOW`: without a bound two controllers would write as fast as they can."""
WINDOW: Final = 60.0


class Contests:
    """Remembers how often each child was put back of late."""

    def __init__(self) -> None:
        self._times: dict[str, deque[float]] = {}

    def allows(self, uid: str, now: float) -> bool:
        """Tell whether a child may be put back once more now, and remember it if so."""
        self._times = {key: times for key, times in self._times.items() if now - times[-1] < WINDOW}
        times = self._times.get(uid, deque(maxlen=LIMIT))
        if len(times) == LIMIT and now - times[0] < WINDOW:
            return False
        times.append(now)
        self._times[uid] = times
        return True


def others(manifest: Manifest, ours: str) -> str:
    """Return who else writes an object, in words, the latest first; all of our managers begin with `ours`."""
    entries = [
        entry
        for entry in manifest["metadata"].get("managedFields") or ()
        if not entry["manager"].startswith(ours) and entry.get("subresource") != "status"
    ]
    entries.sort(key=lambda entry: str(entry.get("time", "")), reverse=True)
    return ", ".join(dict.fromkeys(entry["manager"] for entry in entries)) or "an unknown writer"
