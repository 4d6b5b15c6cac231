"""The page for whoever runs the adapter names what there is."""

import re
from pathlib import Path

from prometheus_client import Counter, Gauge

from mooring_operator.adapter import metrics
from mooring_operator.api import names

PAGE = (Path(__file__).parents[3] / "docs" / "external-metrics.md").read_text()


def test_every_metric_is_documented_and_none_beside() -> None:
    own = {
        f"{next(iter(metric.describe())).name}{'_total' if isinstance(metric, Counter) else ''}"
        for metric in vars(metrics).values()
        if isinstance(metric, Counter | Gauge)
    }
    told = set(re.findall(r"`(mooring_[a-z_]+)", PAGE))
    assert set(names.EXTERNAL_METRICS) <= told
    assert {name for name in told if name.startswith("mooring_adapter_")} == own
