"""The points of a handoff from H to N: each has a name, and either side may die at each.

0 OFFER      N is asked whether it would take sessions like these: advice only
1 QUIET      the running step has ended and is committed; the handoff has the session's turn
2 FROZEN     `moving` is on disk here: from now on nothing is applied here, and only N's word can change that
3 SENT       `take` is on its way, again and again until it is answered
4 KEPT       `held` is on disk at N: from now on N applies
5 ANSWERED   N says `taken`
6 FORGOTTEN  `moved` is on disk here, the state is gone
"""

import enum
from collections.abc import Callable

from mooring_runtime.sessions.keys import Key


class Point(enum.Enum):
    """The points, as above."""

    OFFER = 0
    QUIET = 1
    FROZEN = 2
    SENT = 3
    KEPT = 4
    ANSWERED = 5
    FORGOTTEN = 6


Reached = Callable[[Point, Key], None]
"""Called when a handoff has come to a point; SENT is reached in the transport, which tells it nobody but a test."""
