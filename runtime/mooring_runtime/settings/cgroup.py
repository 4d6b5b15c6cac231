"""How many CPUs and how much memory this process may really use: what the container has, not the node.

onnxruntime asks the machine and starts a thread a core; in a container of 2 CPUs on a node of 64 that means 64
threads which the kernel throttles for most of each 100 ms period. Who plans for the node's memory is killed.
"""

import math
import os
from collections.abc import Iterator
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
    for version, level in _limits("cpu", root, proc):
        quotas.append(_quota_v2(level / "cpu.max") if version == 2 else _quota_v1(level))
    return min((quota for quota in quotas if quota is not None), default=None)


def memory(
    root: Path = Path("/sys/fs/cgroup"),
    proc: Path = Path("/proc/self/cgroup"),
    meminfo: Path = Path("/proc/meminfo"),
) -> int:
    """Bytes to plan for: the machine's, or the smallest limit of cgroup v2 or v1 above this process.

    Version 1 writes a limit of almost 2**63 where there is none.
    """
    files = {1: "memory.limit_in_bytes", 2: "memory.max"}
    found = [_read(level / files[version]) for version, level in _limits("memory", root, proc)]
    (total,) = (line.split()[1] for line in _read(meminfo).splitlines() if line.startswith("MemTotal:"))
    return min([int(total) * 1024, *(int(limit) for limit in found if limit.isdecimal())])


def _limits(controller: str, root: Path, proc: Path) -> Iterator[tuple[int, Path]]:
    """Every directory whose limit of a controller holds for this process, after the version of its hierarchy."""
    for controllers, group in _groups(proc):
        if not controllers:
            yield from ((2, level) for level in _levels(root, group))
        elif controller in controllers.split(","):
            yield from ((1, level) for level in _levels(root / controller, group))


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
