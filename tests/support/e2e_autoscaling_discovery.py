"""Prometheus' discovery of pods, played: Debian builds Prometheus without the one for Kubernetes.

What it finds it writes to a file that Prometheus watches, with the labels that `role: pod` of `kubernetes_sd_configs`
gives (Prometheus 2.42, discovery/kubernetes/pod.go), so that the rules which users are told are taken as they stand.
"""

import json
import re
import subprocess
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.cluster.cluster import Cluster, Manifest

_META = "__meta_kubernetes"


def targets(pods: Iterable[Manifest]) -> list[dict[str, Any]]:
    """What Prometheus takes for the targets in these pods: one for each port of each container, and one for a container
    without any. Pods that have no address yet have none. Pure.
    """
    return [
        {"targets": [address], "labels": {**_of_pod(pod), **labels}}
        for pod in pods
        if pod.get("status", {}).get("podIP")
        for address, labels in _ports(pod)
    ]


def _of_pod(pod: Manifest) -> dict[str, str]:
    meta, status = pod["metadata"], pod["status"]
    conditions = {each["type"]: each["status"] for each in status.get("conditions", ())}
    told = {
        f"{_META}_namespace": meta["namespace"],
        f"{_META}_pod_name": meta["name"],
        f"{_META}_pod_uid": meta["uid"],
        f"{_META}_pod_ip": status["podIP"],
        f"{_META}_pod_phase": status.get("phase", ""),
        f"{_META}_pod_ready": conditions.get("Ready", "unknown").lower(),
        f"{_META}_pod_node_name": pod["spec"].get("nodeName", ""),
    }
    for kind, names in (("label", meta.get("labels")), ("annotation", meta.get("annotations"))):
        for name, value in (names or {}).items():
            plain = re.sub("[^a-zA-Z0-9_]", "_", name)
            told |= {f"{_META}_pod_{kind}_{plain}": value, f"{_META}_pod_{kind}present_{plain}": "true"}
    return told


def _ports(pod: Manifest) -> Iterator[tuple[str, dict[str, str]]]:
    address = pod["status"]["podIP"]
    containers = [(each, "false") for each in pod["spec"]["containers"]]
    containers += [(each, "true") for each in pod["spec"].get("initContainers", ())]
    for container, init in containers:
        told = {f"{_META}_pod_container_name": container["name"], f"{_META}_pod_container_init": init}
        told[f"{_META}_pod_container_image"] = container["image"]
        for port in container.get("ports", ()):
            number = str(port["containerPort"])
            yield (
                f"{address}:{number}",
                {
                    **told,
                    f"{_META}_pod_container_port_name": port.get("name", ""),
                    f"{_META}_pod_container_port_number": number,
                    f"{_META}_pod_container_port_protocol": port.get("protocol", "TCP"),
                },
            )
        if not container.get("ports"):
            yield address, told


@contextmanager
def discovering(cluster: Cluster, kubeconfig: Path, file: Path) -> Iterator[None]:
    """Keeps the file as the pods of all namespaces are, seen with the rights of that account, while the block runs."""
    argv = ["kubectl", "get", "pods", "--all-namespaces", "--watch", "--output-watch-events", "-o", "json"]
    file.write_text("[]")
    pods: dict[str, Manifest] = {}
    with subprocess.Popen(
        cluster.command(*argv),
        env={**cluster.env(), "KUBECONFIG": str(kubeconfig)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        lines = process.stdout
        assert lines is not None

        def read() -> None:
            for line in lines:  # each holds one event whole
                event = json.loads(line)
                uid = event["object"]["metadata"]["uid"]
                if event["type"] == "DELETED":
                    pods.pop(uid, None)
                else:
                    pods[uid] = event["object"]
                half = file.with_suffix(".new")
                half.write_text(json.dumps(targets(pods.values())))
                half.rename(file)

        reader = threading.Thread(target=read)
        reader.start()
        try:
            yield
        finally:
            process.terminate()
            reader.join()
