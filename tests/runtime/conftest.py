"""Leaves out what this Python or this machine cannot run, and says so in one line each."""

import ctypes
import importlib.util
from contextlib import suppress
from functools import cache

import pytest

_NO_TORCH = importlib.util.find_spec("torch") is None
collect_ignore_glob = ["*/test_torch*.py"] if _NO_TORCH else []


_PROCESS_FOLDERS = {"clients", "fuzz"}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark by its place what takes longer than unit tests may."""
    for item in items:
        if item.path.stem.endswith("_process") or item.path.parent.name in _PROCESS_FOLDERS:
            item.add_marker(pytest.mark.process)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if _NO_TORCH:
        terminalreporter.write_line(
            "The tests of torch are left out: this Python has none. `make unit-torch` runs them."
        )


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("gpu") and not gpus():
        pytest.skip("there is no NVIDIA GPU here; on a machine with one, `make unit-gpu` runs these")


@cache
def gpus() -> int:
    """How many NVIDIA GPUs the driver shows; asked of the driver itself, whatever frameworks are installed."""
    count = ctypes.c_int(0)
    with suppress(OSError):
        driver = ctypes.CDLL("libcuda.so.1")
        if driver.cuInit(0) == 0:
            driver.cuDeviceGetCount(ctypes.byref(count))
    return count.value
