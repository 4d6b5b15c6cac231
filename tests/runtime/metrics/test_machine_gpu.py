"""The GPU's metrics, on a real GPU."""

import pytest

from mooring_runtime.metrics import METRICS
from mooring_runtime.metrics.machine import Machine

pytestmark = pytest.mark.gpu

GPU = {name for name in METRICS if name.startswith(("nv_gpu_", "nv_energy_"))}


def test_a_gpu_tells_what_perf_analyzer_asks_for() -> None:
    pytest.importorskip("pynvml", reason="this Python has no nvidia-ml-py")
    page = Machine().page()
    found = {name: samples for name, samples in page.items() if name in GPU}
    assert {"nv_gpu_utilization", "nv_gpu_memory_total_bytes", "nv_gpu_memory_used_bytes"} <= set(found)
    for samples in found.values():
        assert all(key[1][0].startswith(("GPU-", "MIG-")) and value >= 0 for key, value in samples.items())
    total, used = (sum(found[f"nv_gpu_memory_{word}_bytes"].values()) for word in ("total", "used"))
    assert 0 < used < total
