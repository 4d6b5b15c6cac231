"""The nodes of a cluster: a containerd and a kubelet each, kube-proxy and CoreDNS for all."""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import assets, cgroups, credentials, mountpoints, network, oci, processes
from .places import RECIPE, ROOT, ClusterError, run_folder

_API_PORT = 6443
_KUBELET_HEALTH_PORT = 10248
_MEMORY = Path("/sys/fs/cgroup/memory")

# Written by hand: CoreDNS runs beside the pods, not in one.
DNS: list[dict[str, Any]] = [
    {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "kube-dns", "namespace": "kube-system"},
        "spec": {
            "clusterIP": network.DNS_ADDRESS,
            "ports": [{"name": "dns", "port": 53, "protocol": "UDP"}, {"name": "dns-tcp", "port": 53}],
        },
    },
    {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "name": "kube-dns",
            "namespace": "kube-system",
            "labels": {"kubernetes.io/service-name": "kube-dns"},
        },
        "addressType": "IPv4",
        "endpoints": [{"addresses": [network.node_address(0)]}],
        "ports": [{"name": "dns", "port": 53, "protocol": "UDP"}, {"name": "dns-tcp", "port": 53, "protocol": "TCP"}],
    },
]


@dataclass(frozen=True)
class Node:
    """One node: its folders stand in the cluster's state, its sockets in /run."""

    state: Path
    number: int

    @property
    def name(self) -> str:
        return name(self.number)

    @property
    def folder(self) -> Path:
        return self.state / self.name

    @property
    def run(self) -> Path:
        return run_folder(self.state) / self.name

    @property
    def socket(self) -> Path:
        return self.run / "containerd.sock"

    def ctr(self, *argv: str) -> subprocess.CompletedProcess[str]:
        """Runs containerd's own client in the namespace that kubelet uses."""
        command = [str(assets.folder() / "ctr"), "--address", str(self.socket), "--namespace", "k8s.io", *argv]
        return subprocess.run(command, capture_output=True, text=True, check=False)


def name(number: int) -> str:
    """The name of a node, counted from 0."""
    return f"node{number}"


def start(state: Path, count: int, server: str, tokens: dict[str, str]) -> None:
    """Starts `count` nodes with kube-proxy and CoreDNS; they are ready some seconds later.

    Args:
        tokens: each node's token, by its name.
    """
    enter = network.enter(state, state)
    binary = str(assets.folder() / "cluster")
    proxy = [binary, "kube-proxy", "--kubeconfig=kubeconfig", f"--hostname-override={name(0)}", "--proxy-mode=nftables"]
    # The host's own limit on connections stays as it is.
    limits = ["--conntrack-max-per-core=0", f"--cluster-cidr={network.POD_RANGE}"]
    processes.start(state, "proxy", [*enter, *proxy, *limits])
    (state / "Corefile").write_text(_corefile(state))
    processes.start(state, "coredns", [*enter, str(assets.folder() / "coredns"), "-conf", "Corefile"])
    volumes = [sys.executable, "-m", "tests.cluster.volumes"]
    processes.start(state, "volumes", [*enter, "env", f"--chdir={ROOT}", *volumes])
    nodes = [Node(state, number) for number in range(count)]
    memory = cgroups.memory_limits_work(state, assets.folder() / "pause", enter)
    for node in nodes:
        _start_containerd(node, enter, memory)
    for node in nodes:
        _import(node, assets.folder() / "pause.tar")
        kubeconfig = node.folder / "kubeconfig"
        credentials.write_kubeconfig(kubeconfig, server, state / "pki" / "ca.crt", tokens[node.name])
        (node.folder / "kubelet.json").write_text(json.dumps(_kubelet_config(node), indent=1))
        kubelet = [
            *(binary, "kubelet", f"--config={node.folder / 'kubelet.json'}", f"--kubeconfig={kubeconfig}"),
            *(f"--hostname-override={node.name}", f"--node-ip={network.node_address(node.number)}"),
            *(f"--root-dir={node.folder / 'kubelet'}", f"--cert-dir={node.folder / 'pki'}"),
        ]
        processes.start(state, f"kubelet-{node.name}", [*enter, *kubelet])


def load(state: Path, count: int, archives: Sequence[Path]) -> None:
    """Puts images on every node.

    Raises:
        ClusterError: an archive holds no image that containerd can read.
    """
    pairs = [(Node(state, number), archive) for archive in archives for number in range(count)]
    with ThreadPoolExecutor(max_workers=2) as workers:
        for done in [workers.submit(_import, *pair) for pair in pairs]:
            done.result()


def _import(node: Node, archive: Path) -> None:
    processes.wait_until(lambda: node.ctr("version").returncode == 0, 30, f"containerd of {node.name}")
    if not archive.is_file():
        raise ClusterError(f"{archive}: no such file")
    reference, pinned = oci.names(archive)
    if node.ctr("images", "list", "--quiet", f"name=={pinned}").stdout.strip():
        return  # loaded before, and not changed since
    # A pod may name it by its digest too, as it could an image that was pulled.
    for command in (["import", str(archive.resolve())], ["tag", "--force", reference, pinned]):
        result = node.ctr("images", *command)
        if result.returncode:
            raise ClusterError(f"cannot load {archive} on {node.name}: {result.stderr.strip()}")


def _start_containerd(node: Node, enter: Sequence[str], memory: bool) -> None:
    cni = node.folder / "cni"
    cni.mkdir(parents=True)
    (node.folder / "cni-cache").mkdir()
    node.run.mkdir(parents=True, exist_ok=True)
    (cni / "10-bridge.conflist").write_text(json.dumps(_cni_config(node)))
    config = node.folder / "containerd.toml"
    config.write_text(_containerd_config(node))
    # A mount namespace of its own that still sees what kubelet mounts. Each containerd hands out
    # addresses from its own cache. While a memory controller is in sight that is not
    # ours to use, runc fails to start any container.
    script = 'mount --bind "$1" "$2"; shift 2\n' + ("" if memory else f"umount {_MEMORY} 2>/dev/null || true\n")
    bind = [str(node.folder / "cni-cache"), str(mountpoints.CNI_CACHE)]
    mountpoints.make([mountpoints.CNI_CACHE])
    command = ["unshare", "--mount", "--propagation=slave", "sh", "-ec", script + 'exec "$@"', "sh", *bind]
    env = {
        "PATH": f"{assets.folder()}:/usr/local/sbin:/usr/sbin:/sbin:{os.environ.get('PATH', '')}",
        "CLUSTER_CGROUP": cgroups.name(node.state),
        "CLUSTER_MEMORY": "yes" if memory else "no",
    }
    containerd = [str(assets.folder() / "containerd"), "--config", str(config)]
    processes.start(node.state, f"containerd-{node.name}", [*enter, *command, *containerd], env)


def _corefile(state: Path) -> str:
    return f"""
.:53 {{
  bind {network.node_address(0)}
  errors
  kubernetes cluster.local in-addr.arpa {{
    kubeconfig {state / "kubeconfig"}
    ttl 1
  }}
}}
"""


def _cni_config(node: Node) -> dict[str, Any]:
    subnet = f"10.244.{node.number + 1}.0/24"
    addresses = {
        "type": "host-local",
        "ranges": [[{"subnet": subnet}]],
        "routes": [{"dst": "0.0.0.0/0"}],
        "dataDir": str(node.folder / "cni-addresses"),
    }
    bridge = {
        "type": "bridge",
        "bridge": f"pods{node.number}",
        "isGateway": True,
        "hairpinMode": True,
        "ipam": addresses,
    }
    plugins = [bridge, {"type": "portmap", "capabilities": {"portMappings": True}}]
    return {"cniVersion": "1.0.0", "name": f"pods{node.number}", "plugins": plugins}


def _containerd_config(node: Node) -> str:
    # restrict_oom_score_adj: this host may refuse to lower it (no CAP_SYS_RESOURCE).
    # netns_mounts_under_state_dir: else the names of dead pods' networks would stay in /run/netns.
    return f"""
version = 3
root = "{node.folder}/containerd"
state = "{node.run}/containerd"
[grpc]
address = "{node.socket}"
[plugins.'io.containerd.internal.v1.opt']
path = "{node.folder}/opt"
[plugins.'io.containerd.nri.v1.nri']
disable = true
[plugins.'io.containerd.cri.v1.images'.pinned_images]
sandbox = "{assets.PAUSE_IMAGE}"
[plugins.'io.containerd.cri.v1.runtime']
restrict_oom_score_adj = true
netns_mounts_under_state_dir = true
disable_apparmor = true
[plugins.'io.containerd.cri.v1.runtime'.cni]
bin_dirs = ["{assets.folder()}"]
conf_dir = "{node.folder}/cni"
[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"
[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc.options]
BinaryName = "{RECIPE}/runc.sh"
"""


def _kubelet_config(node: Node) -> dict[str, Any]:
    return {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "containerRuntimeEndpoint": f"unix://{node.socket}",
        "address": network.node_address(node.number),
        "healthzPort": _KUBELET_HEALTH_PORT + node.number,
        # A host may have cgroups of version 1 only, and none to spare for kubelet's own classes.
        "failCgroupV1": False,
        "cgroupDriver": "cgroupfs",
        "cgroupsPerQOS": False,
        "enforceNodeAllocatable": [],
        "failSwapOn": False,
        # Nobody outside the cluster's network reaches a kubelet.
        "authentication": {"anonymous": {"enabled": True}, "webhook": {"enabled": False}},
        "authorization": {"mode": "AlwaysAllow"},
        "clusterDNS": [network.DNS_ADDRESS],
        "clusterDomain": "cluster.local",
        "resolvConf": "",
        "localStorageCapacityIsolation": False,
        "podLogsDir": str(node.folder / "pod-logs"),
        "volumePluginDir": str(node.folder / "volume-plugins"),
        # Both nodes see the host's whole disk: neither may evict pods because of it.
        "evictionHard": {},
        "makeIPTablesUtilChains": False,
    }
