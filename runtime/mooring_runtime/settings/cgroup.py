"""How many CPUs this process may really use: the container's quota, not the node's core count.

onnxruntime asks the machine and starts a thread a core; in a container of 2 CPUs on a node of 64 that means 64
threads which the kernel throttles for most of each 100 ms period.
"""

import math
import os
from pathlib import Path


def cpu_count(root: Path = Path("/sys/fs/cgroup"), proc: Path = Path("/proc/self/cgroup")) -> int:
    """CPUs to plan for, at least 1: the smaller of the affinity mask and the cgroup's quota, rounded up."""
    usable = len(os.sched_getaffinity(0))
    quota = cpu_quota(root, proc)
    return usable if quota is None else max(1, min(usable, math.ceil(quota)))


def cpu_quota(root: Path, proc: Path) -> float | None:
    """CPUs that cgroup v2 or v1 grants, as a fraction; None where there is no limit.

    A limit may stand on any ancestor, so every level from the process's group up to the root is read and the
    smallest wins. In a container the group is the root of what is mounted, and the walk has one step.
    """
    quotas = []
    for controllers, group in _groups(proc):
        if not controllers:
            quotas += [_quota_v2(level / "cpu.max") for level in _levels(root, group)]
        elif "cpu" in controllers.split(","):
            quotas += [_quota_v1(level) for level in _levels(root / "cpu", group)]
    return min((quota for quota in quotas if quota is not None), default=None)


def _groups(proc: Path) -> list[tuple[str, str]]:
    try:
        lines = proc.read_text().splitlines()
    except OSError:
        return []
    parts = [line.split(":", 2) for line in lines]
    return [(part[1], part[2].lstrip("/")) for part in parts if len(part) == 3]


def _levels(root: Path, group: str) -> list[Path]:
    """Every directory from the group up to the root; a group outside this mount (`/../..`) leaves the root alone."""
    if ".." in Path(group).parts:
        return [root]
    levels = [root / group]
    while levels[-1] != root:
        levels.append(levels[-1].parent)
    return levels


def _quota_v2(file: Path) -> float | None:
    words = _read(file).split()
    if len(words) != 2 or words[0] == "max":
        return None
    return int(words[0]) / int(words[1])


def _quota_v1(group: Path) -> float | None:
    quota, period = _read(group / "cpu.cfs_quota_us"), _read(group / "cpu.cfs_period_us")
    if not quota or not period or int(quota) <= 0:
        return None
    return int(quota) / int(period)


def _read(file: Path) -> str:
    try:
        return file.read_text().strip()
    except OSError:
        return ""
