"""A control plane does what tests of the operator build on."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cluster import lifecycle, prepared, processes
from tests.cluster.cluster import Cluster, find
from tests.cluster.places import ROOT, ClusterError

pytestmark = pytest.mark.controlplane


def test_client_and_server_have_the_version_of_the_go_module(control_plane: Cluster) -> None:
    versions = json.loads(control_plane.kubectl("version", "-o", "json"))
    module = (ROOT / "tests/cluster/go/kubernetes/go.mod").read_text()

    assert versions["clientVersion"]["gitVersion"] == versions["serverVersion"]["gitVersion"]
    assert f"k8s.io/kubernetes {versions['serverVersion']['gitVersion']}\n" in module


def test_dynamic_resource_allocation_is_served(control_plane: Cluster) -> None:
    kinds = control_plane.kubectl("api-resources", "--api-group=resource.k8s.io", "--output=name").split()

    assert "resourceclaimtemplates.resource.k8s.io" in kinds


def test_what_is_written_is_read_and_audited(control_plane: Cluster, namespace: str) -> None:
    start = control_plane.audit_size()
    written = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "round", "namespace": namespace},
        "data": {"trip": "yes"},
    }
    control_plane.apply(written)

    assert control_plane.get("configmap", "round", "-n", namespace)["data"] == {"trip": "yes"}
    seen = [
        (entry["verb"], entry["user"]["username"], entry["responseStatus"]["code"])
        for entry in control_plane.audit(start)
        if entry.get("objectRef", {}).get("namespace") == namespace and entry["objectRef"].get("name") == "round"
    ]
    assert seen == [("patch", "admin", 201), ("get", "admin", 200)]


def test_a_service_account_gets_what_its_roles_allow(control_plane: Cluster, namespace: str) -> None:
    kubeconfig = control_plane.token_kubeconfig(namespace, "default")
    argv = ["kubectl", f"--kubeconfig={kubeconfig}"]

    who = json.loads(control_plane.run(*argv, "auth", "whoami", "-o", "json").stdout)
    assert who["status"]["userInfo"]["username"] == f"system:serviceaccount:{namespace}:default"
    with pytest.raises(ClusterError, match="forbidden"):
        control_plane.run(*argv, "get", "secrets")


def test_controllers_and_claims_work(control_plane: Cluster, namespace: str) -> None:
    claim = {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": "data", "namespace": namespace},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Mi"}}},
    }
    control_plane.apply(claim)
    if os.geteuid() == 0:
        control_plane.kubectl("wait", "-n", namespace, "pvc/data", "--for=jsonpath={.status.phase}=Bound")

    control_plane.kubectl("create", "deployment", "web", "--image=localhost/none:1", "-n", namespace)
    control_plane.kubectl("wait", "-n", namespace, "pod", "-l", "app=web", "--for=create", "--timeout=20s")


@pytest.mark.usefixtures("awake_controllers")
def test_the_api_server_comes_back_as_it_was(control_plane: Cluster, namespace: str) -> None:
    kubeconfig = control_plane.token_kubeconfig(namespace, "default")
    control_plane.kubectl("create", "configmap", "kept", "-n", namespace)

    control_plane.restart_apiserver(downtime=0.5)

    assert control_plane.get("configmap", "kept", "-n", namespace)["metadata"]["name"] == "kept"
    assert "default" in control_plane.run("kubectl", f"--kubeconfig={kubeconfig}", "auth", "whoami").stdout


def test_prepared_nodes_get_pods_by_their_devices(control_plane: Cluster, namespace: str) -> None:
    taint = {"key": "nvidia.com/gpu", "effect": "NoSchedule"}
    gpu = prepared.PreparedNode("gpu", {"zone": "a"}, [taint], {"nvidia.com/gpu": "1"})
    container = {"name": "main", "image": "localhost/none:1", "resources": {"limits": {"nvidia.com/gpu": "1"}}}
    tolerations = [{"key": "nvidia.com/gpu", "operator": "Exists"}]
    pods = [
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": name, "namespace": namespace},
            "spec": {"containers": [container], "tolerations": tolerations},
        }
        for name in ("first", "second")
    ]
    with prepared.nodes(control_plane, gpu, prepared.PreparedNode("plain")):
        control_plane.apply(pods[0])
        control_plane.kubectl("wait", "-n", namespace, "pod/first", "--for=condition=PodScheduled")
        control_plane.apply(pods[1])
        refused = "--for=jsonpath={.status.conditions[0].reason}=Unschedulable"
        control_plane.kubectl("wait", "-n", namespace, "pod/second", refused)
        prepared.report_ready(control_plane, namespace, "first")

        first = control_plane.get("pod", "first", "-n", namespace)
        assert first["spec"]["nodeName"] == "gpu"
        assert control_plane.kubectl("wait", "-n", namespace, "pod/first", "--for=condition=Ready")
        prepared.set_extended_resources(control_plane, "plain", {"nvidia.com/gpu": 1})
        control_plane.kubectl("wait", "-n", namespace, "pod/second", "--for=condition=PodScheduled")

    assert control_plane.get("nodes")["items"] == []
    assert control_plane.get("pods", "-n", namespace)["items"] == []


def test_helm_talks_to_it(control_plane: Cluster, namespace: str) -> None:
    assert json.loads(control_plane.helm("list", "-n", namespace, "-o", "json")) == []


def test_what_a_killed_run_left_is_removed(tmp_path: Path) -> None:
    state = tmp_path / "crash"
    argv = [sys.executable, "-m", "tests.cluster", "up", "--name=crash", f"--state={state}"]
    with subprocess.Popen(argv, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as run:
        # Killed half-way: the API server runs, nothing was written down about the cluster as a whole.
        processes.wait_until((state / "apiserver.pid.json").exists, 30, "the API server to be started")
        run.kill()
    left = processes.marked(state)
    assert left
    (state / "etcd.pid.json").unlink()

    with lifecycle.held(state):
        again = lifecycle.up("crash", state)
        assert not left & processes.marked(state)
        assert find(state) == again
        assert again.kubectl("get", "namespace", "default", "-o", "name") == "namespace/default\n"
        lifecycle.down(state)

    assert not processes.marked(state)
    assert {entry.suffix for entry in state.iterdir()} == {".log"}


def test_a_recycled_process_id_is_not_killed(tmp_path: Path) -> None:
    with subprocess.Popen(["sleep", "60"]) as bystander:
        record = {"name": "etcd", "argv": [], "pid": bystander.pid, "start": 1, "boot": "an earlier one"}
        (tmp_path / "etcd.pid.json").write_text(json.dumps(record))

        lifecycle.down(tmp_path)

        assert bystander.poll() is None
        bystander.kill()


def test_a_cluster_in_use_is_refused(tmp_path: Path) -> None:
    with (
        lifecycle.held(tmp_path / "one"),
        pytest.raises(ClusterError, match="in use by another run"),
        lifecycle.held(tmp_path / "one"),
    ):
        pass


def test_a_cluster_that_does_not_stand_says_how_to_start_one(tmp_path: Path) -> None:
    with pytest.raises(ClusterError, match="start one by"):
        find(tmp_path)
