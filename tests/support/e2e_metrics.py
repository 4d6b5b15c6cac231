"""The resource metrics of pods, as a metrics server would tell them: the test says how much is used.

Usage: python -m tests.support.e2e_metrics ADDRESS PORT CERTIFICATE KEY FOLDER (`millicores`, what all pods of an answer
use together, stands in FOLDER; kubectl finds the pods)
"""

import http.server
import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from tests.cluster.cluster import Cluster
from tests.support import e2e_https
from tests.support.certificates import authority

_GROUP, _VERSION = "metrics.k8s.io", "v1beta1"
_ROOT = f"/apis/{_GROUP}/{_VERSION}"
_PORT = 8444
_NAME = "test-metrics"


@dataclass
class Metrics:
    """What the pods use."""

    folder: Path

    @property
    def millicores(self) -> int:
        """Of all pods of a service together."""
        return int((self.folder / "millicores").read_text())

    @millicores.setter
    def millicores(self, total: int) -> None:
        half = self.folder / "millicores.new"
        half.write_text(str(total))
        half.rename(self.folder / "millicores")


@contextmanager
def serving(cluster: Cluster, folder: Path) -> Iterator[Metrics]:
    """Serves metrics to the cluster's API server while the block runs."""
    metrics = Metrics(folder)
    metrics.millicores = 0
    with e2e_https.running(cluster, "tests.support.e2e_metrics", _PORT, authority(folder, _NAME), str(folder)):
        try:
            cluster.apply(*_service(e2e_https.ADDRESS))
            available = ["wait", "--for=condition=Available", f"apiservice/{_VERSION}.{_GROUP}", "--timeout=60s"]
            cluster.kubectl(*available, timeout=90)
            yield metrics
        finally:
            # An API that is announced and not served would keep namespaces from being deleted.
            cluster.kubectl("delete", "apiservice", f"{_VERSION}.{_GROUP}", "--ignore-not-found", check=False)


def _service(address: str) -> list[dict[str, Any]]:
    where = {"name": _NAME, "namespace": "kube-system"}
    slices = {**where, "labels": {"kubernetes.io/service-name": _NAME}}
    api = {"group": _GROUP, "version": _VERSION, "service": where, "insecureSkipTLSVerify": True}
    priorities = {"groupPriorityMinimum": 100, "versionPriority": 100}
    return [
        {"apiVersion": "v1", "kind": "Service", "metadata": where, "spec": {"ports": [{"port": 443}]}},
        {
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": slices,
            "addressType": "IPv4",
            "endpoints": [{"addresses": [address]}],
            "ports": [{"port": _PORT, "protocol": "TCP"}],
        },
        {
            "apiVersion": "apiregistration.k8s.io/v1",
            "kind": "APIService",
            "metadata": {"name": f"{_VERSION}.{_GROUP}"},
            "spec": {**api, **priorities},
        },
    ]


class _Handler(http.server.BaseHTTPRequestHandler):
    """Answers discovery, and one list of pods."""

    folder: Path

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        if parts.path == _ROOT:
            return self._answer(_RESOURCES)
        words = parts.path.removeprefix(f"{_ROOT}/").split("/")
        if len(words) != 3 or (words[0], words[2]) != ("namespaces", "pods"):
            return self.send_error(404)
        selector = parse_qs(parts.query).get("labelSelector", [""])[0]
        return self._answer(_pods(words[1], selector, Metrics(self.folder).millicores))

    def log_message(self, format: str, *arguments: object) -> None:
        """Says nothing of what goes well; `log_error` comes here too, and a failure is seen by who asks."""

    def _answer(self, document: dict[str, Any]) -> None:
        body = json.dumps(document).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


_RESOURCES: dict[str, Any] = {
    "kind": "APIResourceList",
    "apiVersion": "v1",
    "groupVersion": f"{_GROUP}/{_VERSION}",
    "resources": [
        {"name": "pods", "singularName": "", "namespaced": True, "kind": "PodMetrics", "verbs": ["get", "list"]}
    ],
}


def _pods(namespace: str, selector: str, total: int) -> dict[str, Any]:
    argv = ["kubectl", "get", "pods", "--namespace", namespace, "-l", selector, "-o", "json"]
    pods = json.loads(subprocess.run(argv, check=True, capture_output=True, text=True).stdout)["items"]
    each = f"{total // max(1, len(pods))}m"
    measured = {"timestamp": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"), "window": "1s"}
    items = [
        {
            "metadata": {key: pod["metadata"][key] for key in ("name", "namespace", "labels")},
            **measured,
            "containers": [
                {"name": container["name"], "usage": {"cpu": each, "memory": "64Mi"}}
                for container in pod["spec"]["containers"]
            ],
        }
        for pod in pods
    ]
    return {"kind": "PodMetricsList", "apiVersion": f"{_GROUP}/{_VERSION}", "metadata": {}, "items": items}


def main(address: str, port: str, certificate: str, key: str, folder: str) -> None:
    e2e_https.serve(type("Handler", (_Handler,), {"folder": Path(folder)}), address, port, certificate, key)


if __name__ == "__main__":
    main(*sys.argv[1:])
