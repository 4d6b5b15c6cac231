"""What a batcher is given to run, how it is told to, and what it tells about a run."""

import math
from collections.abc import Hashable, Mapping, Sequence
from typing import NamedTuple, Protocol

from mooring_runtime.messages import NONE, Array, Parameter

ALONE: Hashable = None
"""`like` of a job that shares its run with no other."""
DEFAULT_LEVEL = 10
"""The priority level of a request that names none: nine levels are above it, any number below."""


class Batching(NamedTuple):
    """How the runs of one model are put together."""

    max_size: int | None = None
    """Most samples of one request and of one run; None: `messages.DEFAULT_MAX_BATCH`, or the largest preferred
    size where that is more, and a larger request runs alone.
    The model's metadata carry it (`Traits.max_batch`), for front ends tell it to clients."""
    max_delay: float | None = None
    """Seconds that a request may wait for others although the model is free; None: as long as it pays; 0: never."""
    preferred_sizes: tuple[int, ...] = ()
    """Sizes that a run is filled up to with copies of its last sample, whose results nobody gets: a GPU, and a recorded
    CUDA graph even more so, wants few shapes."""


class Run(NamedTuple):
    """What was measured of a run, in seconds; `started` by the batcher's clock."""

    started: float
    gather: float
    """To put the tensors of the requests together."""
    infer: float
    """In the model."""
    scatter: float
    """To cut the results apart."""


class Job:
    """One request on its way through a batcher, and the ticket that takes it back. Front ends see it as `Ticket`."""

    feeds: Mapping[str, Array]
    """Arrays by input; complete and checked."""
    outputs: tuple[str, ...]
    """The outputs wanted, in this order."""
    like: Hashable
    """Jobs of the same value may share a run; `ALONE` shares with none."""
    rows: int
    """Samples; 1 where the model does not count them."""
    size: int
    """Bytes of `feeds`."""
    arrived: float
    """By the batcher's clock."""

    # What most jobs have in common is the class's: quicker than slots that each job fills.
    parameters: Mapping[str, Parameter] = NONE
    """The client's own, for a model that takes them."""
    streamed = False
    """Run by the model's `stream`, on the thread and alone."""
    answers_later = False
    """`land` is not the answer: that leaves later, and who sends it counts the time of the request."""
    keeps_results = False
    """What `land` is given stays in memory for long, and must not keep that of all others there. It is copied where the
    model runs: for large ones the event loop would stand still."""
    level = DEFAULT_LEVEL
    """1 runs first."""
    deadline = math.inf
    """By the batcher's clock: the run begins before this, or never."""
    cancelled = False
    batcher: "Taker | None" = None
    """Where it was handed in."""
    timer: "Handle | None" = None

    def land(self, results: list[Array], run: Run) -> None:
        """The answer; after `part`s an empty one, which says that all have come. `fail` follows if this raises."""
        raise NotImplementedError

    def land_all(self, jobs: "Sequence[Job]", results: Sequence[list[Array]], run: Run) -> None:
        """`land` for all jobs of a run, of which this is one, where their answers leave later. It raises nothing."""
        raise NotImplementedError

    def part(self, results: list[Array]) -> None:
        """One of the answers that a decoupled model gives. If this raises, `fail` follows and no other answer."""
        raise NotImplementedError

    def fail(self, error: Exception | None) -> None:
        """No answer, or after `part`s no other; None: taken back before it ran."""
        raise NotImplementedError

    def cancel(self) -> None:
        """Take the job back. It ends at once when it waits; while it runs, only a decoupled model's run is ended."""
        self.cancelled = True
        if self.batcher is not None:
            self.batcher.take_back(self)


class Taker(Protocol):
    """Where jobs wait."""

    def take_back(self, job: Job) -> None:
        """`job` no longer wants to run; if it still waits, it ends now."""


class Handle(Protocol):
    """A call that the event loop will make."""

    def cancel(self) -> None:
        """It shall not."""


class Ticket(Protocol):
    """A request under way."""

    def cancel(self) -> None:
        """Take the request back; it is answered at once when it still waits. Does nothing when it has ended."""
