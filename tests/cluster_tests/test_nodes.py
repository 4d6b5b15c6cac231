"""Two nodes run pods with all that the project's own pods need."""

import secrets
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.cluster import cgroups, images, lifecycle, mountpoints, prepared, processes, registry
from tests.cluster.cluster import Cluster
from tests.cluster.places import ClusterError, run_folder

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]

_SERVER = "import http.server as h; h.test(h.SimpleHTTPRequestHandler, port=8000)"


@pytest.fixture(scope="module")
def tools(node_cluster: Cluster) -> str:
    image = images.tools()
    node_cluster.load(image.archive)
    return image.reference


def test_a_pod_has_its_secret_volume_and_image_volume(node_cluster: Cluster, namespace: str, tools: str) -> None:
    """The volume moves with the pod to the other node; the image is named by its digest."""
    model = images.model_image(f"test-{secrets.token_hex(3)}", {"deep/model.onnx": b"weights", "labels.txt": b"a b"})
    node_cluster.load(model.archive)
    node_cluster.kubectl("create", "secret", "generic", "key", "--from-literal=token=hush", "-n", namespace)
    claim = {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": "data"},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Mi"}}},
    }
    volumes = [
        {"name": "key", "secret": {"secretName": "key"}},
        {"name": "data", "persistentVolumeClaim": {"claimName": "data"}},
        {"name": "model", "image": {"reference": model.pinned, "pullPolicy": "IfNotPresent"}},
    ]
    paths = {"key": "/key", "data": "/data", "model": "/models"}
    show = "cat /key/token /models/deep/model.onnx /models/labels.txt /data/note 2>&1; echo kept > /data/note"
    node_cluster.apply(claim, namespace=namespace)
    said = []
    for node in ("node0", "node1"):
        node_cluster.apply(_pod(node, tools, show, node=node, volumes=volumes, paths=paths), namespace=namespace)
        _wait(node_cluster, namespace, node, "Succeeded")
        said.append(node_cluster.kubectl("logs", node, "-n", namespace))

    assert said == ["hushweightsa bcat: /data/note: No such file or directory\n", "hushweightsa bkept\n"]


def test_names_services_and_both_nodes_reach_each_other(node_cluster: Cluster, namespace: str, tools: str) -> None:
    server = _pod("server", tools, f'exec python3 -c "{_SERVER}"', node="node1")
    server["metadata"]["labels"] = {"app": "server"}
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "web"},
        "spec": {"selector": {"app": "server"}, "ports": [{"port": 80, "targetPort": 8000}]},
    }
    node_cluster.apply(server, service, namespace=namespace)
    node_cluster.kubectl("wait", "pod/server", "-n", namespace, "--for=condition=Ready", "--timeout=60s")
    url = f"http://web.{namespace}.svc.cluster.local/etc/hostname"
    fetch = f"import urllib.request as u; print(u.urlopen('{url}', timeout=20).read().decode().strip())"
    node_cluster.apply(_pod("client", tools, f'python3 -c "{fetch}"', node="node0"), namespace=namespace)
    _wait(node_cluster, namespace, "client", "Succeeded")

    assert node_cluster.kubectl("logs", "client", "-n", namespace) == "server\n"
    assert node_cluster.run(sys.executable, "-c", fetch).stdout == "server\n"
    assert node_cluster.kubectl("exec", "server", "-n", namespace, "--", "hostname") == "server\n"
    with node_cluster.door("web", namespace, 80) as address:
        outside = fetch.replace(url, f"http://{address}/etc/hostname")
        assert subprocess.check_output([sys.executable, "-c", outside], text=True) == "server\n"


def test_an_extended_resource_is_counted_and_given(node_cluster: Cluster, namespace: str, tools: str) -> None:
    prepared.set_extended_resources(node_cluster, "node1", {"nvidia.com/gpu": 1})
    limits = {"limits": {"nvidia.com/gpu": "1"}}
    for name in ("first", "second"):
        pod = _pod(name, tools, "sleep 1000")
        pod["spec"]["containers"][0]["resources"] = limits
        node_cluster.apply(pod, namespace=namespace)
    node_cluster.kubectl("wait", "pod/first", "-n", namespace, "--for=condition=Ready", "--timeout=60s")

    assert node_cluster.get("pod", "first", "-n", namespace)["spec"]["nodeName"] == "node1"
    assert node_cluster.get("pod", "second", "-n", namespace)["status"]["phase"] == "Pending"
    prepared.set_extended_resources(node_cluster, "node1", {"nvidia.com/gpu": None})


def test_an_image_is_pulled_from_the_registry(node_cluster: Cluster, namespace: str, tools: str) -> None:
    model = images.model_image("pulled", {"model.onnx": secrets.token_bytes(1 << 20), "note": b"from afar"})
    reference = registry.push(node_cluster, model, "models/pulled")
    volumes = [{"name": "model", "image": {"reference": reference}}]
    pod = _pod("reader", tools, "cat /models/note", volumes=volumes, paths={"model": "/models"})
    node_cluster.apply(pod, namespace=namespace)
    _wait(node_cluster, namespace, "reader", "Succeeded")

    assert node_cluster.kubectl("logs", "reader", "-n", namespace) == "from afar"


def test_pods_outlive_the_api_server(node_cluster: Cluster, namespace: str, tools: str) -> None:
    node_cluster.apply(_pod("long", tools, "sleep 1000"), namespace=namespace)
    _wait(node_cluster, namespace, "long", "Running")
    before = node_cluster.get("pod", "long", "-n", namespace)["status"]["containerStatuses"][0]["containerID"]

    node_cluster.restart_apiserver(downtime=1)

    assert node_cluster.kubectl("exec", "long", "-n", namespace, "--", "echo", "here") == "here\n"
    assert node_cluster.get("pod", "long", "-n", namespace)["status"]["containerStatuses"][0]["containerID"] == before


def test_an_archive_that_is_no_image_is_refused(node_cluster: Cluster, tmp_path: Path) -> None:
    with pytest.raises(ClusterError, match="no such file"):
        node_cluster.load(tmp_path / "absent.tar")
    (tmp_path / "text.tar").write_text("no image")
    with pytest.raises(ClusterError, match="not an OCI archive"):
        node_cluster.load(tmp_path / "text.tar")


def test_a_killed_cluster_leaves_nothing_after_down(tmp_path_factory: pytest.TempPathFactory, tools: str) -> None:
    # Kubelet's sockets stand in it, and the path of a socket has at most 107 bytes.
    state = tmp_path_factory.mktemp("c") / "fallen"
    mounts = _mounts()
    with lifecycle.held(state):
        cluster = lifecycle.up("fallen", state, 1)
        cluster.load(images.tools().archive)
        cluster.apply(_pod("idle", tools, "sleep 1000"))
        _wait(cluster, "default", "idle", "Running")
        assert cgroups.processes(state)
        for name in ("containerd-node0", "kubelet-node0", "anchor", "apiserver"):
            processes.stop(processes.find(state, name))
        for record in state.glob("*.pid.json"):
            record.unlink()
        lifecycle.down(state.with_name("other"))
        assert cgroups.processes(state)

        lifecycle.down(state)

    assert not cgroups.processes(state)
    assert not processes.marked(state)
    assert not run_folder(state).exists()
    # Others of this machine may start and take down theirs meanwhile.
    ours = (str(state), run_folder(state).name, *map(str, mountpoints.SHARED.values()), str(mountpoints.CNI_CACHE))
    assert [mount for mount in _mounts() - mounts if any(word in mount for word in ours)] == []
    assert not list(Path("/sys/fs/cgroup").glob(f"**/{state.name}-*"))
    assert {entry.suffix for entry in state.iterdir()} == {".log"}


def _mounts() -> set[str]:
    return set(Path("/proc/self/mounts").read_text().splitlines())


def _pod(name: str, image: str, command: str, *, node: str | None = None, **volumes: Any) -> dict[str, Any]:
    container = {
        "name": "main",
        "image": image,
        "command": ["sh", "-c", command],
        "volumeMounts": [{"name": volume, "mountPath": path} for volume, path in volumes.get("paths", {}).items()],
    }
    spec = {
        "containers": [container],
        "restartPolicy": "Never",
        "terminationGracePeriodSeconds": 0,
        "volumes": volumes.get("volumes", []),
    }
    pinned = {"nodeSelector": {"kubernetes.io/hostname": node}} if node else {}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": {**spec, **pinned}}


def _wait(cluster: Cluster, namespace: str, pod: str, phase: str) -> None:
    arguments = ["pod", pod, "-n", namespace, f"--for=jsonpath={{.status.phase}}={phase}", "--timeout=60s"]
    cluster.kubectl("wait", *arguments, timeout=90)
