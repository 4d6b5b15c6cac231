"""Decides where and when a run happens; knows no model and no protocol, only callables and sizes.

`policy` is pure; `executor` is the thin worker around it.
"""

from mooring_runtime.scheduling.executor import Executor, Outcome, Ticket

__all__ = ["Executor", "Outcome", "Ticket"]
