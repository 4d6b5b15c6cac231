"""The numbers of the sessions of one replica, all from 0 at the start of the process.

Plain attributes, as `stats`: whoever does something adds to them, without a call where one addition will do.

    table, holder   created, ended, evicted, dropped, steps, repeats, refused, restore
    store           observe_commit
    peers           forwards, handoffs
    at the scrape   sessions, tiers, volume, quarantined, unsynced, membership: callables that the server sets

Each attribute has one thread that writes it: the event loop, but for those of `observe_commit`, which the store's
writer may call. A reader on another thread may then see a commit counted and its seconds not yet.
"""

from collections import Counter
from collections.abc import Callable, Mapping

from mooring_runtime.metrics.stats import BATCH_BUCKETS, Histogram

SESSION_STATES = ("active", "ended", "moving", "moved")
END_CAUSES = ("ended", "expired", "evicted", "restarted")
EVICTION_LIMITS = ("sessions", "bytes")


class SessionStats:
    """What is done to sessions here. No session's id is ever a label."""

    __slots__ = (
        "batch",
        "commit",
        "created",
        "dropped",
        "ended",
        "evicted",
        "forwards",
        "handoffs",
        "membership",
        "quarantined",
        "refused",
        "repeats",
        "restore",
        "sessions",
        "steps",
        "tiers",
        "unsynced",
        "volume",
    )

    def __init__(self) -> None:
        self.created: Counter[str] = Counter()
        """By model: sessions that began here, by a start, `new`, import or fork."""
        self.ended: Counter[tuple[str, str]] = Counter()
        """By model and cause, which is one of END_CAUSES."""
        self.evicted: Counter[tuple[str, str]] = Counter()
        """By model and the limit that was reached, which is one of EVICTION_LIMITS; each is in `ended` too."""
        self.dropped: Counter[str] = Counter()
        """By model: sessions that were set aside, and that a person let be deleted."""
        self.steps: Counter[str] = Counter()
        """By model: steps that were applied."""
        self.repeats: Counter[str] = Counter()
        """By model: steps that were answered by their stored reply."""
        self.refused: Counter[tuple[str, str]] = Counter()
        """By model and the cause of the SessionError that a client of this replica was told, whoever has refused it."""
        self.commit = Histogram()
        """Seconds of a commit of the store, its sync included."""
        self.batch = Histogram(BATCH_BUCKETS)
        """Changes that one commit wrote."""
        self.restore = Histogram()
        """Seconds in which a session that was on disk only was read for its next step."""
        self.handoffs: Counter[tuple[str, str]] = Counter()
        """By direction (`in`, `out`) and outcome of each session in a `take` (`taken`, `refused`, `dropped`, `stale`,
        `later`, `broken`; `lost`: no answer)."""
        self.forwards: Counter[str] = Counter()
        """Requests that were passed on to another replica, by outcome: `answered`, `not-here`, `moving`, `owner-down`,
        `outcome-unknown`."""
        self.sessions: Callable[[], Mapping[tuple[str, str], int]] = dict
        """Copies by model and state, which is one of SESSION_STATES: `Table.counts`."""
        self.tiers: Callable[[], Mapping[str, int]] = dict
        """Bytes of sessions by tier: `memory` (a part of what is on disk) and `disk`."""
        self.volume: Callable[[], Mapping[str, int]] = dict
        """Bytes of the volume: `limit` that sessions may take, and `free`."""
        self.quarantined: Callable[[], int] = int
        """Sessions that were set aside because what was on disk of them is torn."""
        self.unsynced: Callable[[], float] = float
        """Seconds since the oldest step that was answered and is not on disk yet; 0 but in `interval` mode."""
        self.membership: Callable[[], Mapping[str, int]] = dict
        """`epoch` and `size` of the adopted record, and `foreign`: copies that are here and should be elsewhere."""

    def observe_commit(self, seconds: float, changes: int) -> None:
        """Count one commit of the store that wrote so many changes."""
        self.commit.observe(seconds)
        self.batch.observe(changes)
