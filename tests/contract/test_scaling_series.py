"""What KEDA and prometheus-adapter are told to ask for is what the operator exports, and never a pod's own word."""

import re
from typing import Any

import pytest
import yaml

from mooring_operator import desired
from mooring_operator.api import names
from mooring_operator.facts import Key, Scaler, Step
from mooring_operator.handlers import series
from mooring_operator.scaling.answers import Answer
from mooring_operator.scaling.look import Look
from mooring_runtime.metrics import METRICS
from tests.cluster.places import ROOT
from tests.operator.handlers.test_series import exported
from tests.support import builders

DOCUMENT = ROOT / "docs" / "autoscaling.md"
KEY = Key(builders.NAMESPACE, builders.NAME)
EVERY = {"maxReplicas": 8, "latency": {"target": "80ms"}, "queue": {"target": 4}, "concurrency": {"target": 9}}


@pytest.fixture(scope="module")
def known() -> set[str]:
    """The series that the operator has of a service that it sees."""
    series.export_rule(KEY, Look({metric: Answer(metric, 1.0, 1.0, 1) for metric in names.EXTERNAL_METRICS}))
    try:
        return {name for name, key in exported() if key == KEY}
    finally:
        series.clear()


def asked(text: str) -> set[str]:
    return set(re.findall(r"\bmooring_\w+(?=\{)", text))


@pytest.mark.parametrize("concurrency", [None, 7.0])
def test_each_trigger_asks_for_what_the_operator_exports(concurrency: float | None, known: set[str]) -> None:
    step = Step(scaler=Scaler(keda=True, concurrency=concurrency))
    children = desired.children(builders.service(scaling=EVERY), builders.cluster(prometheus_url="http://a"), step)
    [made] = [child for child in children if child["kind"] == "ScaledObject"]
    queries = [trigger["metadata"]["query"] for trigger in made["spec"]["triggers"]]
    assert len(queries) == 3
    for query in queries:
        assert asked(query) and asked(query) <= known


def test_no_series_of_the_operator_is_one_of_the_servers(known: set[str]) -> None:
    # Taken together they would be the load twice, or whatever a pod says it is.
    assert known.isdisjoint(metric.name for metric in METRICS.values())
    assert len(known) == len(names.EXTERNAL_METRICS)


def documented_rules() -> list[dict[str, Any]]:
    """The rules that users of prometheus-adapter are told."""
    [block] = [
        block for block in re.findall(r"```yaml\n(.*?)```", DOCUMENT.read_text(), re.DOTALL) if "externalRules" in block
    ]
    found: list[dict[str, Any]] = yaml.safe_load(block)["externalRules"]
    return found


def test_the_documented_rules_give_each_metric_its_series(known: set[str]) -> None:
    given: dict[str, str] = {}
    for rule in documented_rules():
        [pattern] = re.findall(r'__name__=~"([^"]+)"', rule["seriesQuery"]) or [rule["seriesQuery"].split("{")[0]]
        for name in (name for name in known if re.fullmatch(pattern, name)):
            metric = rule.get("name", {}).get("as", name)
            assert metric not in given, "two rules for one metric"
            given[metric] = name
        assert rule["resources"]["overrides"] == {names.METRIC_LABEL_NAMESPACE: {"resource": "namespace"}}
    assert given == names.SERIES
