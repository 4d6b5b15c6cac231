"""Decides where and when a run happens; knows no protocol and no framework, only jobs and what runs them.

`lanes` (what waits, and which of it runs next), `policy` (whether to wait for more) and `curve` (how long runs take)
are pure; `capacity` says how much may wait; `runs` puts tensors together and cuts results apart; `batcher` is the thin
worker around them.
"""

from mooring_runtime.scheduling.batcher import Batcher
from mooring_runtime.scheduling.capacity import LEAST_QUEUE
from mooring_runtime.scheduling.curve import RunTimes
from mooring_runtime.scheduling.jobs import ALONE, DEFAULT_LEVEL, Batching, Job, Run, Ticket
from mooring_runtime.scheduling.runs import Runner

__all__ = ["ALONE", "DEFAULT_LEVEL", "LEAST_QUEUE", "Batcher", "Batching", "Job", "Run", "RunTimes", "Runner", "Ticket"]
