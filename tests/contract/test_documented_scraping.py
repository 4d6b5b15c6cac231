"""The scrape jobs that users are told, on the pods that the operator and the chart make."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from mooring_operator.api import names
from tests.cluster.places import ROOT
from tests.support.e2e_autoscaling import DOCUMENT, told_jobs
from tests.support.e2e_autoscaling_discovery import targets

GOLDEN = ROOT / "tests" / "operator" / "golden"


def pods(folder: Path) -> Iterator[dict[str, Any]]:
    """A pod of each workload of a golden case, with an address of its own."""
    for number, child in enumerate(yaml.safe_load_all((folder / "children.yaml").read_text())):
        if child["kind"] in {"Deployment", "StatefulSet"}:
            template = child["spec"]["template"]
            meta = {**template["metadata"], "namespace": "models", "name": f"pod-{number}", "uid": str(number)}
            yield {"metadata": meta, "spec": template["spec"], "status": {"podIP": f"10.0.0.{number}"}}


def kept(job: dict[str, Any], found: list[dict[str, Any]]) -> list[str]:
    """The addresses of the targets that pass the rules of a job; others only say whose series they are."""
    for rule in job["relabel_configs"]:
        if rule.get("action", "replace") == "replace":
            assert rule["target_label"] not in {"__address__", "__metrics_path__", "__scheme__"}
            continue
        assert rule["action"] == "keep"
        [label] = rule["source_labels"]
        found = [each for each in found if re.fullmatch(rule["regex"], each["labels"].get(label, ""))]
    return [address for each in found for address in each["targets"]]


@pytest.mark.parametrize("case", ["latency", "stateful-everything"])
def test_the_job_of_the_servers_scrapes_each_of_them_once_and_nothing_else(case: str) -> None:
    made = list(pods(GOLDEN / case))
    servers = [
        pod["status"]["podIP"] for pod in made if pod["metadata"]["labels"]["app.kubernetes.io/component"] == "server"
    ]
    job, operator = told_jobs(DOCUMENT.read_text())
    assert sorted(kept(job, targets(made))) == sorted(f"{address}:{names.METRICS_PORT}" for address in servers)
    assert kept(operator, targets(made)) == []
    assert servers


def test_a_document_without_jobs_or_with_two_lists_of_them_is_refused() -> None:
    block = "```yaml\n- job_name: a\n```\n"
    assert told_jobs(block) == [{"job_name": "a"}]
    for document in ("", block * 2):
        with pytest.raises(ValueError, match="write one"):
            told_jobs(document)
