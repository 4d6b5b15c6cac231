"""What is counted: `names` every metric; `stats`, `loads`, `sessions` the numbers; `pages` their sums; `page` what is
read.
"""

from mooring_runtime.metrics.capacity import Aims, Capacity
from mooring_runtime.metrics.ledger import Ledger
from mooring_runtime.metrics.loads import Loaded, Loads
from mooring_runtime.metrics.names import METRICS, Kind, Merge, Metric
from mooring_runtime.metrics.page import MetricsPage, WholePage, constant_labels, render
from mooring_runtime.metrics.pages import Page, kept, merge
from mooring_runtime.metrics.sessions import SessionStats
from mooring_runtime.metrics.stats import BUCKETS, FAILURE_REASONS, REJECT_CAUSES, Histogram, ModelStats

__all__ = [
    "BUCKETS",
    "FAILURE_REASONS",
    "METRICS",
    "REJECT_CAUSES",
    "Aims",
    "Capacity",
    "Histogram",
    "Kind",
    "Ledger",
    "Loaded",
    "Loads",
    "Merge",
    "Metric",
    "MetricsPage",
    "ModelStats",
    "Page",
    "SessionStats",
    "WholePage",
    "constant_labels",
    "kept",
    "merge",
    "render",
]
