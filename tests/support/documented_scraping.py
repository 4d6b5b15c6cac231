"""The scrape jobs that docs/autoscaling.md tells its readers to write, for a Prometheus beside a cluster."""

import textwrap
from pathlib import Path
from typing import Any

import yaml

from tests.cluster.cluster import Cluster
from tests.cluster.places import ROOT

DOCUMENT = ROOT / "docs" / "autoscaling.md"
_ACCOUNT = "prometheus"


def told(document: str) -> list[dict[str, Any]]:
    """The scrape jobs that a document tells: the block of YAML that begins with one.

    Raises:
        ValueError: it has no such block, or more than one.
    """
    fenced = document.split("```yaml\n")[1:]
    blocks = [block.partition("```")[0] for block in fenced if block.lstrip().startswith("- job_name:")]
    if len(blocks) != 1:
        raise ValueError(f"found {len(blocks)} blocks of YAML that begin with `- job_name:`; write one")
    jobs: list[dict[str, Any]] = yaml.safe_load(textwrap.dedent(blocks[0]))
    return jobs


def jobs(kubeconfig: Path, seconds: int) -> list[dict[str, Any]]:
    """The document's jobs as they stand, but for the time from one scrape to the next, and the way to the API server,
    which a Prometheus in a pod finds by itself.
    """
    made = told(DOCUMENT.read_text())
    for job in made:
        job["scrape_interval"] = job["scrape_timeout"] = f"{seconds}s"
        for discovery in job["kubernetes_sd_configs"]:
            discovery["kubeconfig_file"] = str(kubeconfig)
    return made


def account(cluster: Cluster, namespace: str) -> Path:
    """Makes the account of a Prometheus in a namespace, with the rights that the document names and no other.

    Returns:
        Its kubeconfig.
    """
    # A name of its own for each: roles and bindings have no namespace.
    name, group = {"name": f"{namespace}-{_ACCOUNT}"}, "rbac.authorization.k8s.io"
    rule = {"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list", "watch"]}
    role = {"apiGroup": group, "kind": "ClusterRole", **name}
    subject = {"kind": "ServiceAccount", "name": _ACCOUNT, "namespace": namespace}
    binding = {"roleRef": role, "subjects": [subject]}
    cluster.apply(
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": _ACCOUNT, "namespace": namespace}},
        {"apiVersion": f"{group}/v1", "kind": "ClusterRole", "metadata": name, "rules": [rule]},
        {"apiVersion": f"{group}/v1", "kind": "ClusterRoleBinding", "metadata": name, **binding},
    )
    return cluster.token_kubeconfig(namespace, _ACCOUNT)
