"""The scrape jobs that users are told: by them Prometheus finds the pods that the operator and the chart make."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from mooring_operator.api import names
from tests.cluster import assets
from tests.cluster.cluster import Cluster, Manifest
from tests.cluster.processes import wait_until
from tests.support import chart, documented_scraping
from tests.support.prometheus_process import prometheus
from tests.support.rendered import GOLDEN

pytestmark = pytest.mark.timeout(120)
PATIENCE = 60
OPERATOR_PORT = 8081
STRANGER = {
    "metadata": {"labels": {names.LABEL_COMPONENT: names.COMPONENT_SERVER}},
    "spec": {"containers": [{"name": "a", "image": "a", "ports": [{"name": "metrics", "containerPort": 9100}]}]},
}
"""Somebody else's pod, with a label that many have."""
SERVER = {names.LABEL_MANAGED_BY: names.MANAGED_BY, names.LABEL_COMPONENT: names.COMPONENT_SERVER}
OPERATOR = {names.LABEL_NAME: "mooring-operator"}


def workloads() -> Iterator[Manifest]:
    """What makes pods: of services without and with sessions, a router and a check, and of the chart."""
    for case in ("latency", "stateful-everything", "check"):
        yield from yaml.safe_load_all((GOLDEN / case / "children.yaml").read_text())
    yield from chart.render(assets.folder() / "helm", "--set", "prometheus.url=http://prometheus")


def pods() -> dict[str, Manifest]:
    """A pod of each workload by an address of its own, with as much of it as a scraper can go by.

    The addresses are on loopback: nobody answers there, and nothing that is asked leaves the host.
    """
    kinds = {"Deployment", "StatefulSet", "Job"}
    templates = [STRANGER, *(each["spec"]["template"] for each in workloads() if each["kind"] in kinds)]
    return {
        f"127.77.0.{number}": {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": f"pod-{number}", "labels": template["metadata"]["labels"]},
            "spec": {kind: list(_parts(template["spec"].get(kind, ()))) for kind in ("containers", "initContainers")},
        }
        for number, template in enumerate(templates, start=1)
    }


def _parts(containers: list[Manifest]) -> Iterator[Manifest]:
    kept = {"name", "image", "ports", "restartPolicy"}
    for container in containers:
        yield {field: value for field, value in container.items() if field in kept}


def addresses(made: dict[str, Manifest], labels: dict[str, str], port: int) -> list[str]:
    """That port of each pod with these labels."""
    return [f"{address}:{port}" for address, pod in made.items() if labels.items() <= pod["metadata"]["labels"].items()]


def test_prometheus_scrapes_each_server_and_each_operator_once_and_nothing_else(
    control_plane: Cluster, namespace: str, tmp_path: Path
) -> None:
    kubeconfig = documented_scraping.account(control_plane, namespace)
    made = pods()
    control_plane.apply(*made.values(), namespace=namespace)
    for address, pod in made.items():
        status = json.dumps({"status": {"podIP": address, "podIPs": [{"ip": address}]}})
        argv = ["patch", "pod", pod["metadata"]["name"], "--namespace", namespace, "--subresource=status"]
        control_plane.kubectl(*argv, "--patch", status)
    with prometheus(tmp_path / "own", jobs=documented_scraping.jobs(kubeconfig, 1)) as server:

        def found() -> bool:
            told = [each["discoveredLabels"] for state in ("active", "dropped") for each in server.targets(state)]
            seen = {(each["job"], each.get("__meta_kubernetes_pod_ip")) for each in told}
            return {(job, address) for job in ("mooring", "mooring-operator") for address in made} <= seen

        wait_until(found, PATIENCE, "Prometheus to find the pods")
        active = server.targets("active")
        wait_until(lambda: len(server.query("up")) == len(active), PATIENCE, "Prometheus to scrape them")
        namespaces = {each["metric"].get(names.METRIC_LABEL_NAMESPACE) for each in server.query('up{job="mooring"}')}
    scraped = sorted((each["labels"]["job"], each["labels"]["instance"]) for each in active)
    servers = addresses(made, SERVER, names.METRICS_PORT)
    operators = addresses(made, OPERATOR, OPERATOR_PORT)
    expected = [("mooring", servers), ("mooring-operator", operators)]
    assert scraped == [(job, address) for job, each in expected for address in sorted(each)]
    assert (len(servers), len(operators)) == (2, 1)
    assert namespaces == {namespace}


def test_a_document_without_jobs_or_with_two_lists_of_them_is_refused() -> None:
    block = "```yaml\n- job_name: a\n```\n"
    assert documented_scraping.told(block) == [{"job_name": "a"}]
    for document in ("", block * 2):
        with pytest.raises(ValueError, match="write one"):
            documented_scraping.told(document)
