"""What KEDA and prometheus-adapter are told to ask, as Prometheus' own evaluation answers it."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from mooring_operator.api import names
from mooring_operator.scaling.scraping import Scraping
from mooring_operator.scaling.series import query
from tests.cluster import monitoring
from tests.contract.test_scaling_series import documented_rules
from tests.support import builders

pytestmark = pytest.mark.process
AT = 'mooring_namespace="models", mooring_service="sentiment"'
ELSEWHERE = 'mooring_namespace="others", mooring_service="sentiment"'
RULE = names.SERIES[names.METRIC_DESIRED_REPLICAS]
WORTH = {metric: number for number, metric in enumerate(names.EXTERNAL_METRICS, start=10)}
"""What each metric says while all is well."""


def well() -> dict[str, str]:
    """The four series for ten minutes: of a leader that two jobs scrape, and of another service of its name. Beside
    them the pods' own, of which nothing may be taken.
    """
    found = {f'mooring_queue_depth{{{AT}, instance="pod-{number}"}}': "700x40" for number in range(2)}
    for metric, value in WORTH.items():
        for job in ("operator", "another"):
            found[f'{names.SERIES[metric]}{{{AT}, job="{job}", instance="a"}}'] = f"{value}x40"
        found[f"{names.SERIES[metric]}{{{ELSEWHERE}}}"] = "900x40"
    return found


def answers(folder: Path, series: dict[str, str], moment: str, asked: list[str], expected: list[Any]) -> None:
    """Fail unless these queries answer so, each a number or None, when the series are sampled each 15 s."""
    if reason := monitoring.unavailable():
        pytest.skip(reason)
    tests = [
        {"expr": expr, "eval_time": moment, "exp_samples": [] if value is None else [value]}
        for expr, value in zip(asked, expected, strict=True)
    ]
    given = [{"series": name, "values": values} for name, values in series.items()]
    group = {"interval": "15s", "input_series": given, "promql_expr_test": tests}
    written = {"rule_files": [], "evaluation_interval": "15s", "tests": [group]}
    (folder / "tests.yml").write_text(json.dumps(written))
    tool = str(monitoring.program("promtool"))
    done = subprocess.run(
        [tool, "test", "rules", str(folder / "tests.yml")], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def number(value: float, labels: str = "{}") -> dict[str, Any]:
    return {"labels": labels, "value": value}


def of_keda(scrape: float = 15.0) -> list[str]:
    return [query(metric, builders.service(), Scraping(scrape)) for metric in WORTH]


def of_prometheus_adapter() -> list[str]:
    """The rules' queries as it fills them in for an autoscaler of the service."""
    [every] = {rule["metricsQuery"] for rule in documented_rules()}
    return [
        every.replace("<<.Series>>", names.SERIES[metric]).replace("<<.LabelMatchers>>", AT.replace(", ", ","))
        for metric in WORTH
    ]


def test_each_is_the_operators_number_once(tmp_path: Path) -> None:
    answers(tmp_path, well(), "5m", of_keda(), [number(value) for value in WORTH.values()])
    labels = '{mooring_service="sentiment"}'
    answers(tmp_path, well(), "5m", of_prometheus_adapter(), [number(value, labels) for value in WORTH.values()])


def test_after_a_change_of_leaders_the_larger_number_counts(tmp_path: Path) -> None:
    series = {f'{RULE}{{{AT}, instance="a"}}': "3x40", f'{RULE}{{{AT}, instance="b"}}': "_x4 5x4 stale"}
    asked = query(names.METRIC_DESIRED_REPLICAS, builders.service(), Scraping())
    for moment, value in (("45s", 3), ("2m", 5), ("3m", 3)):
        answers(tmp_path, series, moment, [asked], [number(value)])


@pytest.mark.parametrize("end", ["stale", "_x40"])
def test_an_operator_that_is_gone_says_nothing_soon(tmp_path: Path, end: str) -> None:
    # A target that is gone is marked as stale; one that Prometheus itself has lost stays for five minutes.
    series = {f"{series}{{{AT}}}": f"4x4 {end}" for series in names.SERIES.values()}
    nothing: list[Any] = [None] * len(WORTH)
    for asked in (of_keda(), of_prometheus_adapter()):
        answers(tmp_path, series, "2m", asked, nothing)
    there = [number(4)] * len(WORTH)
    if end != "stale":
        answers(tmp_path, series, "1m45s", of_keda(), there)
        # Where scrapes are farther apart, a sample may be older.
        answers(tmp_path, series, "2m45s", of_keda(scrape=30.0), there)
        answers(tmp_path, series, "3m", of_keda(scrape=30.0), nothing)


def test_an_operator_that_never_said_anything_is_no_nought(tmp_path: Path) -> None:
    only_pods = {name: values for name, values in well().items() if name.startswith("mooring_queue_depth")}
    for asked in (of_keda(), of_prometheus_adapter()):
        answers(tmp_path, only_pods, "5m", asked, [None] * len(WORTH))
