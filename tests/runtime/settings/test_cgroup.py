import os
from pathlib import Path

import pytest

from mooring_runtime.settings.cgroup import cpu_count, cpu_quota, memory


def write(file: Path, text: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text + "\n")


@pytest.mark.parametrize(
    ("limit", "quota"), [("max 100000", None), ("150000 100000", 1.5), ("50000 100000", 0.5), ("", None)]
)
def test_version_two(tmp_path: Path, limit: str, quota: float | None) -> None:
    write(tmp_path / "proc", "0::/")
    write(tmp_path / "fs" / "cpu.max", limit)
    assert cpu_quota(tmp_path / "fs", tmp_path / "proc") == quota


def test_the_tightest_ancestor_counts(tmp_path: Path) -> None:
    write(tmp_path / "proc", "0::/kubepods/pod1")
    write(tmp_path / "fs" / "kubepods" / "cpu.max", "200000 100000")
    write(tmp_path / "fs" / "kubepods" / "pod1" / "cpu.max", "400000 100000")
    assert cpu_quota(tmp_path / "fs", tmp_path / "proc") == 2.0


@pytest.mark.parametrize(("quota", "expected"), [("250000", 2.5), ("-1", None)])
def test_version_one(tmp_path: Path, quota: str, expected: float | None) -> None:
    write(tmp_path / "proc", "4:cpu,cpuacct:/pod\n0::/")
    write(tmp_path / "fs" / "cpu" / "pod" / "cpu.cfs_quota_us", quota)
    write(tmp_path / "fs" / "cpu" / "pod" / "cpu.cfs_period_us", "100000")
    assert cpu_quota(tmp_path / "fs", tmp_path / "proc") == expected


def test_a_group_outside_the_mount_is_no_reason_to_fail(tmp_path: Path) -> None:
    write(tmp_path / "proc", "0::/../../other")
    write(tmp_path / "fs" / "cpu.max", "100000 100000")
    assert cpu_quota(tmp_path / "fs", tmp_path / "proc") == 1.0


def test_without_cgroups_the_affinity_counts(tmp_path: Path) -> None:
    assert cpu_count(tmp_path, tmp_path / "nothing") == len(os.sched_getaffinity(0))


def test_a_fraction_of_a_cpu_is_one(tmp_path: Path) -> None:
    write(tmp_path / "proc", "0::/")
    write(tmp_path / "fs" / "cpu.max", "10000 100000")
    assert cpu_count(tmp_path / "fs", tmp_path / "proc") == 1


@pytest.mark.parametrize(
    ("group", "files", "expected"),
    [
        ("0::/", {"memory.max": "max"}, 2**30),
        ("0::/", {"memory.max": "1048576"}, 2**20),
        ("0::/pod", {"memory.max": "1048576", "pod/memory.max": "2097152"}, 2**20),
        ("9:memory:/", {"memory/memory.limit_in_bytes": "4096"}, 4096),
        ("9:memory:/", {"memory/memory.limit_in_bytes": "9223372036854771712"}, 2**30),
        ("9:cpu:/", {"memory/memory.limit_in_bytes": "4096"}, 2**30),
    ],
)
def test_memory_is_that_of_the_machine_or_the_tightest_limit(
    tmp_path: Path, group: str, files: dict[str, str], expected: int
) -> None:
    write(tmp_path / "proc", group)
    write(tmp_path / "meminfo", f"MemTotal: {2**20} kB\nMemFree: 5 kB")
    for name, limit in files.items():
        write(tmp_path / "fs" / name, limit)
    assert memory(tmp_path / "fs", tmp_path / "proc", tmp_path / "meminfo") == expected
