"""Whether the next run shall wait for more requests although the model is free. Pure: times come as arguments.

Waiting pays in one case only: when the clients that were just answered are about to ask again. Then a short wait puts
everybody into one run, where else they would split into groups that take turns, each paying the fixed cost of a run.
Of requests that come whenever they like, one that waits gains nothing and the others hardly anything. So the policy
does not ask for a delay; it learns from arrivals whether answers bring requests: it compares how many arrive in the
moments after an answer with how many arrive at other times.
"""

import math

_MEMORY = 0.95
"""Weight of what was learned before, at each answered run: some forty runs decide, and a change of the clients' habits
is noticed within as many."""
_CONVINCED = 0.35
"""Fraction of clients that must have come back for a wait. Clients that send again at once are near 1, and above 0.4
even while another run takes their processor; random arrivals are around 0."""
_SURE = 2.0
"""Standard deviations of the number of random arrivals by which more must have come: few requests prove little."""


class Returns:
    """Learns which fraction of the clients just answered sends the next request within a run's fixed cost."""

    def __init__(self) -> None:
        self._begun = self._end = -math.inf
        self._inside = self._outside = 0
        self._answered = 0
        self._sums = [0.0] * 5
        """Arrivals and seconds inside the windows after answers, the same outside of them, requests answered."""
        self._sure = False
        self.fraction = 0.0
        """Of the clients answered: those that were seen to come back soon, beyond what arrives at any time."""

    def arrived(self, now: float) -> None:
        """A request has come."""
        if now <= self._end:
            self._inside += 1
        else:
            self._outside += 1

    def answered(self, count: int, begun: float, now: float, window: float) -> None:
        """`count` requests have got their answers between `begun` and `now`; who asks again by `now + window` came
        back soon.
        """
        if self._answered:
            inside, outside = min(self._end, begun) - self._begun, max(0.0, begun - self._end)
            observed = (self._inside, inside, self._outside, outside, self._answered)
            self._sums = [old * _MEMORY + new for old, new in zip(self._sums, observed, strict=True)]
            came, seconds, others, other_seconds, answered = self._sums
            at_any_time = others / other_seconds * seconds if other_seconds > 0 else 0.0
            caused = came - at_any_time
            self.fraction = min(1.0, max(0.0, caused / answered))
            self._sure = caused > _SURE * math.sqrt(1.0 + at_any_time)
        self._begun, self._end = begun, now + window
        self._inside = self._outside = 0
        self._answered = count

    @property
    def missing(self) -> int:
        """How many of the clients answered last are still expected back."""
        return self.of(self._answered) - self._inside

    def of(self, answered: int) -> int:
        """How many of so many are expected back soon."""
        if self.fraction < _CONVINCED or not self._sure:
            return 0
        return int(answered * self.fraction + 0.95)


def patience(waiting: int, missing: int, full: int, longest: float) -> float:
    """Seconds that the next run may still wait for `missing` clients while `waiting` samples stand ready.

    `longest` is what a run costs whatever its size: to leave m of n clients behind costs about m / n of that, and so
    long is it worth to wait for them; for the last straggler of many hardly at all. `full` is the size of a full run.
    """
    missing = min(missing, full - waiting)
    # The part first: it is at most 1, while `longest * missing` may be rounded up.
    return longest * (missing / (missing + waiting)) if missing > 0 else 0.0


def padded(rows: int, preferred: tuple[int, ...]) -> int:
    """The size that a run of `rows` samples is filled up to; `preferred` is sorted."""
    for size in preferred:
        if size >= rows:
            return size
    return rows
