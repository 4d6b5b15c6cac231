"""The chart's alerts: what Prometheus' own tool says of them, and that each way of being blind has one."""

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from mooring_operator import metrics
from mooring_operator.cluster import prometheus_http
from mooring_operator.scaling import answers, refusals
from tests.cluster import monitoring
from tests.support import chart

pytestmark = pytest.mark.process
CODE = chart.ROOT / "operator" / "mooring_operator"
HARMLESS = {
    "NoAutoscaler",  # a moment before it is made
    "SwitchingBackend",
    "Learning",
    "Unsupported",  # the spec asks for what the cluster has not; the condition says so, and nothing is blind
}


@pytest.fixture(scope="module")
def rules(helm: Path) -> list[dict[str, Any]]:
    manifests = chart.render(helm, "--set", "alerts.enabled=true", "--set", "alerts.for=2m")
    [group] = chart.one(manifests, "PrometheusRule")["spec"]["groups"]
    found: list[dict[str, Any]] = group["rules"]
    return found


def reasons() -> set[str]:
    """Every reason that AutoscalingReady can have while it is not True, read off the code, and the autoscaler's own."""
    said = {
        value for name, value in vars(answers).items() if name.isupper() and isinstance(value, str) and value != "OK"
    }
    said -= {answers.NO_LATENCY_TARGET, answers.FEW_REQUESTS, "OK"}  # of metrics that the autoscaler does not go by
    said |= {
        error.reason for error in vars(prometheus_http).values() if isinstance(error, type) and hasattr(error, "reason")
    }
    said |= set(re.findall(r'Problem\(_FIELD, [^,]+, "(\w+)"\)', (CODE / "scaling" / "rule.py").read_text()))
    said |= set(re.findall(r'Verdict\("False", "(\w+)"', (CODE / "status" / "autoscaling.py").read_text()))
    said |= set(re.findall(r'refusal\(\w+, "(\w+)"', (CODE / "adapter" / "replies.py").read_text()))
    said.add(refusals.NOT_CONFIGURED)
    return said | {"FailedGetExternalMetric", "FailedGetContainerResourceMetric", "InvalidMetricSourceType"}


def test_each_way_of_being_blind_has_one_alert(rules: list[dict[str, Any]]) -> None:
    told = [re.search(r'reason=~?"([^"]+)"} == 0', rule["expr"]) for rule in rules]
    patterns = [found.group(1) for found in told if found is not None]
    found = reasons() - HARMLESS
    assert {
        "PrometheusUnreachable",
        "NoSeries",
        "MetricsAPIConflict",
        "AdapterDown",
        "KedaMissing",
        "InvalidSpec",
    } <= found
    for reason in found:
        assert sum(bool(re.fullmatch(pattern, reason)) for pattern in patterns) == 1, reason


def test_they_read_what_the_operator_exports(rules: list[dict[str, Any]]) -> None:
    exported = {next(iter(gauge.describe())).name for gauge in (metrics.SERVICE_AUTOSCALING_READY, metrics.LEADER)}
    assert {name for rule in rules for name in re.findall(r"mooring_\w+", rule["expr"])} == exported


def test_prometheus_takes_them_and_they_fire(rules: list[dict[str, Any]], tmp_path: Path) -> None:
    if reason := monitoring.unavailable():
        pytest.skip(reason)
    tool = str(monitoring.program("promtool"))
    (tmp_path / "rules.yml").write_text(json.dumps({"groups": [{"name": "chart", "rules": rules}]}))
    subprocess.run([tool, "check", "rules", str(tmp_path / "rules.yml")], check=True, capture_output=True)

    def series(reason: str, values: str) -> dict[str, str]:
        labels = f'mooring_namespace="a", mooring_service="b", reason="{reason}"'
        return {"series": f"mooring_service_autoscaling_ready{{{labels}}}", "values": values}

    def fires(alert: str, *labels: str) -> dict[str, Any]:
        exp = [{"exp_labels": dict(label.split("=") for label in labels)}] if labels else []
        return {"eval_time": "5m", "alertname": alert, "exp_alerts": exp}

    told = ("mooring_namespace=a", "mooring_service=b", "severity=warning")
    [rule] = [rule for rule in rules if rule["alert"] == "MooringNoSeries"]
    texts = {name: text.replace("{{ $labels.mooring_namespace }}", "a") for name, text in rule["annotations"].items()}
    texts = {name: text.replace("{{ $labels.mooring_service }}", "b") for name, text in texts.items()}
    expected = fires("MooringNoSeries", *told, "reason=NoSeries")
    expected["exp_alerts"][0]["exp_annotations"] = texts
    tests = [
        # Blind for longer than the patience of two minutes; sees again; and a leader that is there.
        {
            "interval": "15s",
            "input_series": [series("NoSeries", "0x40"), series("TooManySeries", "0x4 stale"), _leader("1x40")],
            "alert_rule_test": [expected, fires("MooringTooManySeries"), fires("MooringNobodyLeads")],
        },
        {
            "interval": "15s",
            "input_series": [series("ValidMetricFound", "1x40"), _leader("0x40")],
            "alert_rule_test": [
                fires("MooringNoSeries"),
                {
                    **fires("MooringNobodyLeads", "severity=critical"),
                    "exp_alerts": [{"exp_labels": {"severity": "critical"}, "exp_annotations": _annotations(rules)}],
                },
            ],
        },
    ]
    written = {"rule_files": ["rules.yml"], "evaluation_interval": "15s", "tests": tests}
    assert _promtool(tmp_path, written) == ""


def test_each_cluster_has_its_own_alerts_where_one_prometheus_has_several(helm: Path, tmp_path: Path) -> None:
    if reason := monitoring.unavailable():
        pytest.skip(reason)
    ours, site = 'the "east": #1', "7"
    labels = json.dumps({"cluster": ours, "site": site})
    manifests = chart.render(helm, "--set", "alerts.enabled=true", "--set-json", f"alerts.seriesLabels={labels}")
    [group] = chart.one(manifests, "PrometheusRule")["spec"]["groups"]
    (tmp_path / "rules.yml").write_text(json.dumps({"groups": [group]}))

    def series(cluster: str, service: str) -> dict[str, str]:
        own = f'cluster={json.dumps(cluster)}, site="{site}", mooring_namespace="a", mooring_service="{service}"'
        return {"series": f'mooring_service_autoscaling_ready{{{own}, reason="InvalidSpec"}}', "values": "0x60"}

    # Another cluster's leader is no leader here, and its blind services are told by its own alerts.
    leader = {"series": 'mooring_operator_leader{cluster="west", site="7"}', "values": "1x60"}
    written = {
        "rule_files": ["rules.yml"],
        "evaluation_interval": "15s",
        "tests": [
            {
                "interval": "15s",
                "input_series": [leader, series(ours, "b"), series("west", "c")],
                "promql_expr_test": [
                    {
                        "expr": 'sum by (alertname, cluster, mooring_service) (ALERTS{alertstate="firing"})',
                        "eval_time": "10m",
                        "exp_samples": [
                            {"labels": f"{{{found}, cluster={json.dumps(ours)}}}", "value": 1}
                            for found in (
                                'alertname="MooringNobodyLeads"',
                                'alertname="MooringMetricRefused", mooring_service="b"',
                            )
                        ],
                    }
                ],
            }
        ],
    }
    assert _promtool(tmp_path, written) == ""


def _promtool(folder: Path, tests: dict[str, Any]) -> str:
    """What Prometheus' tool has to say against the rules in a folder; nothing where the tests pass."""
    tool = str(monitoring.program("promtool"))
    (folder / "tests.yml").write_text(yaml.safe_dump(tests))
    argv = [tool, "test", "rules", str(folder / "tests.yml")]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    return done.stdout + done.stderr if done.returncode else ""


def _leader(values: str) -> dict[str, str]:
    return {"series": 'mooring_operator_leader{pod="a"}', "values": values}


def _annotations(rules: list[dict[str, Any]]) -> dict[str, str]:
    [rule] = [rule for rule in rules if rule["alert"] == "MooringNobodyLeads"]
    found: dict[str, str] = rule["annotations"]
    return found
