"""etcd, kube-apiserver, kube-controller-manager and kube-scheduler of one cluster.

Alone, they listen on a loopback address of their own (127.x.y.z) and need neither root nor a
network namespace: every process of the host can talk to them. The ports are the well-known ones,
below the range that the kernel hands out, so nothing takes the API server's port while a test
keeps it down. With nodes they run inside the cluster's network namespace (network.py).
"""

import hashlib
import json
import os
import socket
import ssl
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path

from . import mountpoints, processes
from .places import ClusterError

API_PORT = 6443
_ETCD_PORT = 2379
_PEER_PORT = 2380
SERVICE_RANGE = "10.96.0.0/16"

# Stands in for an address of the machine: the API server must advertise one that is no loopback,
# and nothing is ever sent to this one (a documentation range).
_NOBODY = "192.0.2.1"

# Nodes that tests write by hand (prepared.py) send no heartbeat. Without kubelets nobody does, so
# the controller is told to wait a year for one; with kubelets the default of 50 s stays. It looks
# every second, since the first look at a node makes it schedulable.
_NO_HEARTBEATS = ("--node-monitor-grace-period=8760h", "--node-monitor-period=1s")

_AUDIT_POLICY = {
    "apiVersion": "audit.k8s.io/v1",
    "kind": "Policy",
    "omitStages": ["RequestReceived"],
    "rules": [{"level": "Metadata"}],
}

STORAGE_CLASS = {
    "apiVersion": "storage.k8s.io/v1",
    "kind": "StorageClass",
    "metadata": {"name": "standard", "annotations": {"storageclass.kubernetes.io/is-default-class": "true"}},
    "provisioner": "kubernetes.io/host-path",
}


@dataclass(frozen=True)
class Plane:
    """What the command lines of a control plane depend on.

    Attributes:
        assets: the folder of the binaries.
        state: the cluster's state folder; credentials stand in `pki/` there.
        address: the loopback address that it listens on.
        advertise: the address that pods reach the API server by; None without nodes.
        enter: the words that put a command into the cluster's namespaces; empty without nodes.
        provision: the words that put the controller manager where /tmp/hostpath_pv, the folder that its provisioner
            makes volumes in, is the cluster's own; None: no provisioner, claims wait for volumes made by hand.
    """

    assets: Path
    state: Path
    address: str
    advertise: str | None = None
    enter: tuple[str, ...] = ()
    provision: tuple[str, ...] | None = None


def free_address(state: Path) -> str:
    """A loopback address whose ports of a control plane are free; the same one each time, if it can be."""
    for attempt in range(64):
        seed = hashlib.sha256(f"{attempt} {os.fsdecode(state)}".encode()).digest()
        address = f"127.{64 + seed[0] % 64}.{seed[1]}.{1 + seed[2] % 254}"
        if all(_free(address, port) for port in (API_PORT, _ETCD_PORT, _PEER_PORT)):
            return address
    raise ClusterError(f"no free address for {state.name}: ports {API_PORT}, {_ETCD_PORT} and {_PEER_PORT} are taken")


def start(plane: Plane, server: str) -> None:
    """Starts all four; returns when the API server is ready (about 3 s)."""
    (plane.state / "audit-policy.json").write_text(json.dumps(_AUDIT_POLICY))
    processes.start(plane.state, "etcd", [*plane.enter, *_etcd(plane)])
    processes.start(plane.state, "apiserver", [*plane.enter, *_apiserver(plane)])
    wait_ready(plane.state, server)
    if plane.provision is not None:
        # Not earlier: mount points are removed with the host's last cluster, and this one counts since etcd runs.
        mountpoints.make([mountpoints.VOLUMES])
    # These end at once when the API server is not ready yet.
    processes.start(
        plane.state, "controller-manager", [*plane.enter, *(plane.provision or ()), *_controller_manager(plane)]
    )
    processes.start(plane.state, "scheduler", [*plane.enter, *_scheduler(plane)])


def wait_ready(state: Path, server: str, timeout: float = 60.0) -> None:
    """Waits until the API server answers /readyz.

    Raises:
        ClusterError: it ended, or was not ready in time; the message says which log to read.
    """
    context = ssl.create_default_context(cafile=state / "pki" / "ca.crt")

    def ready() -> bool:
        if not processes.find(state, "apiserver").alive():
            tail = (state / "apiserver.log").read_text(errors="replace").splitlines()[-3:]
            raise ClusterError(f"the API server of {state.name} ended; {state}/apiserver.log:\n" + "\n".join(tail))
        try:
            with urllib.request.urlopen(f"{server}/readyz", timeout=2, context=context) as answer:
                return bool(answer.status == 200)
        except (urllib.error.URLError, OSError):
            return False

    processes.wait_until(ready, timeout, f"the API server of {state.name} to be ready; see {state}/apiserver.log")


def _free(address: str, port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address, port))
        except OSError:
            return False
    return True


def _etcd(plane: Plane) -> list[str]:
    client, peer = f"http://{plane.address}:{_ETCD_PORT}", f"http://{plane.address}:{_PEER_PORT}"
    return [
        *(str(plane.assets / "cluster"), "etcd", "--data-dir=etcd", "--unsafe-no-fsync", "--log-level=warn"),
        *(f"--listen-client-urls={client}", f"--advertise-client-urls={client}", f"--listen-peer-urls={peer}"),
        *(f"--initial-advertise-peer-urls={peer}", f"--initial-cluster=default={peer}"),
    ]


def _apiserver(plane: Plane) -> list[str]:
    alone = plane.advertise is None
    return [
        *(str(plane.assets / "cluster"), "kube-apiserver", f"--etcd-servers=http://{plane.address}:{_ETCD_PORT}"),
        *("--cert-dir=pki", "--tls-cert-file=pki/apiserver.crt", "--tls-private-key-file=pki/apiserver.key"),
        f"--secure-port={API_PORT}",
        f"--bind-address={plane.address if alone else '0.0.0.0'}",
        f"--advertise-address={plane.advertise or _NOBODY}",
        # Alone, there is no address for the Service `kubernetes` to lead to, and no pod that would use it.
        *(["--endpoint-reconciler-type=none"] if alone else []),
        "--service-account-issuer=https://kubernetes.default.svc",
        *("--service-account-key-file=pki/sa.key", "--service-account-signing-key-file=pki/sa.key"),
        *("--token-auth-file=pki/tokens.csv", "--authorization-mode=Node,RBAC", "--allow-privileged"),
        f"--service-cluster-ip-range={SERVICE_RANGE}",
        # Looks kubelets up by address: no resolver knows the names of these nodes.
        "--kubelet-preferred-address-types=InternalIP",
        *("--audit-policy-file=audit-policy.json", "--audit-log-path=audit.log", "--audit-log-maxsize=4096"),
        *("--requestheader-client-ca-file=pki/front-ca.crt", "--requestheader-allowed-names=front-proxy"),
        *("--requestheader-username-headers=X-Remote-User", "--requestheader-group-headers=X-Remote-Group"),
        "--requestheader-extra-headers-prefix=X-Remote-Extra-",
        *("--proxy-client-cert-file=pki/front-proxy.crt", "--proxy-client-key-file=pki/front-proxy.key"),
        "--enable-aggregator-routing",
    ]


def _controller_manager(plane: Plane) -> list[str]:
    return [
        *_component(plane, "kube-controller-manager"),
        *("--service-account-private-key-file=pki/sa.key", "--use-service-account-credentials"),
        "--root-ca-file=pki/ca.crt",
        *("--pvclaimbinder-sync-period=1s", "--horizontal-pod-autoscaler-sync-period=2s"),
        *(["--enable-hostpath-provisioner"] if plane.provision is not None else []),
        *(_NO_HEARTBEATS if plane.advertise is None else ()),
    ]


def _scheduler(plane: Plane) -> list[str]:
    # On a busy machine it may miss that a claim is bound, just while it gives the pod up for now; it would look again
    # after five minutes (seen with three claims that had been bound for 90 s).
    return [*_component(plane, "kube-scheduler"), "--pod-max-in-unschedulable-pods-duration=5s"]


def _component(plane: Plane, name: str) -> list[str]:
    return [
        *(str(plane.assets / "cluster"), name, "--kubeconfig=kubeconfig", "--leader-elect=false", "--secure-port=0"),
    ]
