"""The machine's CPU, memory and GPUs under Triton's names, which perf_analyzer and dashboards ask for.

They say something of the whole node, not of this server. GPUs are read by NVML when the package `nvidia-ml-py` and a
driver are there; the CPU's numbers come from /proc.
"""

import ctypes
import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Any

from mooring_runtime.metrics import names
from mooring_runtime.metrics.names import Metric
from mooring_runtime.metrics.pages import Page

log = logging.getLogger(__name__)

_ALONE = ("", ())


class Machine:
    """Reads anew at each `page`; the CPU's use is that since the one before, the first one since the boot."""

    def __init__(self, proc: Path = Path("/proc")) -> None:
        self._proc = proc
        self._before = (0, 0)
        self._nvml = _nvml()

    def page(self) -> Page:
        """What can be read here; what cannot is left out."""
        page: Page = {}
        with suppress(OSError, ValueError, KeyError):
            page[names.NV_CPU_UTILIZATION.name] = {_ALONE: self._utilization()}
            total, free = self._memory()
            page[names.NV_CPU_MEMORY_TOTAL.name] = {_ALONE: total}
            page[names.NV_CPU_MEMORY_USED.name] = {_ALONE: total - free}
        if self._nvml is not None:
            for metric, gpu, value in _gpus(self._nvml):
                page.setdefault(metric.name, {})["", (gpu,)] = value
        return page

    def _utilization(self) -> float:
        fields = [int(word) for word in (self._proc / "stat").read_text().split("\n", 1)[0].split()[1:9]]
        total, idle = sum(fields), fields[3] + fields[4]
        passed, rested = total - self._before[0], idle - self._before[1]
        self._before = (total, idle)
        return 1 - rested / passed if passed > 0 else 0.0

    def _memory(self) -> tuple[float, float]:
        """Bytes in all, and those that a program could have."""
        lines = (line.split() for line in (self._proc / "meminfo").read_text().splitlines())
        kibibytes = {words[0]: int(words[1]) for words in lines if len(words) > 1}
        return kibibytes["MemTotal:"] * 1024.0, kibibytes["MemAvailable:"] * 1024.0


def _nvml() -> Any:
    """NVML, started; None where there is no GPU to ask."""
    try:
        ctypes.CDLL("libnvidia-ml.so.1")
    except OSError:  # No driver.
        return None
    try:
        nvml = import_module("pynvml")
    except ModuleNotFoundError:
        log.warning("there are no metrics of GPUs: this Python has no nvidia-ml-py; install the extra `gpu-metrics`")
        return None
    try:
        nvml.nvmlInit()
    except nvml.NVMLError as error:
        log.info("there are no metrics of GPUs: %s", error)
        return None
    return nvml


def _gpus(nvml: Any) -> Iterator[tuple[Metric, str, float]]:
    """(metric, the GPU's name, value) of what each GPU tells."""
    for index in range(nvml.nvmlDeviceGetCount()):
        handle = nvml.nvmlDeviceGetHandleByIndex(index)
        uuid = nvml.nvmlDeviceGetUUID(handle)
        readings: Mapping[Metric, Callable[[Any], Any]] = {
            names.NV_GPU_UTILIZATION: lambda gpu: nvml.nvmlDeviceGetUtilizationRates(gpu).gpu / 100,
            names.NV_GPU_MEMORY_TOTAL: lambda gpu: nvml.nvmlDeviceGetMemoryInfo(gpu).total,
            names.NV_GPU_MEMORY_USED: lambda gpu: nvml.nvmlDeviceGetMemoryInfo(gpu).used,
            names.NV_GPU_POWER_USAGE: lambda gpu: nvml.nvmlDeviceGetPowerUsage(gpu) / 1000,
            names.NV_GPU_POWER_LIMIT: lambda gpu: nvml.nvmlDeviceGetEnforcedPowerLimit(gpu) / 1000,
            names.NV_ENERGY_CONSUMPTION: lambda gpu: nvml.nvmlDeviceGetTotalEnergyConsumption(gpu) / 1000,
        }
        for metric, read in readings.items():
            with suppress(nvml.NVMLError):  # A slice of a GPU does not tell its power.
                yield metric, uuid, float(read(handle))
