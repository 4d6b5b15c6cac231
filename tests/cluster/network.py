"""The network of a cluster with nodes: namespaces that live exactly as long as their processes.

One process, the anchor, holds a network and a mount namespace that every other process of the
cluster enters. They have no name in /run/netns: nothing is left to remove when the last process is
gone, however it ended. The default route leads nowhere, so no address can clash with the host's
and no packet can leave by mistake.
"""

import subprocess
import sys
from pathlib import Path

from . import mountpoints, processes
from .controlplane import API_PORT
from .places import ROOT, ClusterError, run_folder

POD_RANGE = "10.244.0.0/16"
DNS_ADDRESS = "10.96.0.10"
_ANCHOR = "anchor"

# There is no dummy device in every kernel; a veth pair whose far end is unused takes its place.
# Folders stand over the host's with the same path (mountpoints.py), and names resolve by the
# cluster's DNS server for the commands that run inside.
_SETUP = """
ip link set lo up
ip link add node type veth peer name node-peer
for address in $ADDRESSES; do ip addr add "$address/24" dev node; done
ip link set node up
ip link set node-peer up
ip route add default dev node
echo 1 > /proc/sys/net/ipv4/ip_forward
while [ $# -gt 0 ]; do mount --bind "$1" "$2"; shift 2; done
if [ -e /etc/resolv.conf ]; then mount --bind "$STATE/resolv.conf" /etc/resolv.conf; fi
"""


def node_address(node: int) -> str:
    """The address of a node: of its kubelet and, on the first, of the API server as pods see it."""
    return f"10.244.0.{node + 1}"


def start(state: Path, nodes: int) -> None:
    """Makes the namespaces, the nodes' addresses and the bound folders.

    Raises:
        ClusterError: the kernel refused a step; the message says which.
    """
    # Shared, so that kubelet's tmpfs mounts (tokens, Secrets) reach the containers.
    hold = "mount --make-rshared / && exec sleep infinity"
    anchor = processes.start(state, _ANCHOR, ["unshare", "--net", "--mount", "sh", "-c", hold])

    def held() -> bool:
        if not anchor.alive():
            raise ClusterError(f"no namespaces for {state.name}: {(state / f'{_ANCHOR}.log').read_text().strip()}")
        return Path(f"/proc/{anchor.pid}/comm").read_text().strip() == "sleep"

    processes.wait_until(held, 10, f"the namespaces of {state.name}")
    mountpoints.make(list(mountpoints.SHARED.values()))
    pairs: list[str] = []
    for name, target in mountpoints.SHARED.items():
        (state / name).mkdir()
        pairs += [str(state / name), str(target)]
    (state / "resolv.conf").write_text(
        f"nameserver {DNS_ADDRESS}\nsearch default.svc.cluster.local svc.cluster.local cluster.local\noptions ndots:5\n"
    )
    script = f"ADDRESSES='{' '.join(map(node_address, range(nodes)))}' STATE=$1; shift\n{_SETUP}"
    argv = [*enter(state, state), "sh", "-euc", script, "sh", str(state), *pairs]
    result = subprocess.run(argv, capture_output=True, text=True, check=False)
    if result.returncode:
        raise ClusterError(f"cannot make the network of {state.name}: {result.stderr.strip()}")
    run_folder(state).mkdir(parents=True, exist_ok=True)


def open_door(state: Path, address: str) -> None:
    """Lets the host reach the API server at `address`, the one that it has inside."""
    forward(state, "forward", (address, API_PORT), (address, API_PORT))


def forward(state: Path, name: str, listen: tuple[str, int], to: tuple[str, int]) -> tuple[processes.Component, int]:
    """Starts the component `name`: it takes connections on the host and passes them on inside the cluster's network.

    Args:
        listen: the address and port on the host; port 0 takes a free one.

    Returns:
        The component, and the port that it listens on.
    """
    anchor = processes.find(state, _ANCHOR)
    log = state / f"{name}.log"
    log.unlink(missing_ok=True)
    ends = [listen[0], str(listen[1]), str(anchor.pid), to[0], str(to[1])]
    module = [sys.executable, "-m", "tests.cluster.forward"]
    forwarder = processes.start(state, name, ["env", f"--chdir={ROOT}", *module, *ends])

    def listening() -> bool:
        if not forwarder.alive():
            raise ClusterError(f"no way into cluster {state.name} from {listen[0]}: {log.read_text().strip()}")
        return log.read_text().endswith("\n")

    processes.wait_until(listening, 10, f"{name} of {state.name} to listen")
    return forwarder, int(log.read_text().split()[-1])


def enter(state: Path, folder: Path) -> tuple[str, ...]:
    """The words that put a command into the cluster's namespaces, with `folder` as its working folder.

    Raises:
        ClusterError: the cluster is down.
    """
    anchor = processes.find(state, _ANCHOR)
    if not anchor.alive():
        raise ClusterError(f"cluster {state.name} is down: start it by `python -m tests.cluster up`")
    return ("nsenter", f"--target={anchor.pid}", "--net", "--mount", f"--wdns={folder}", "--")
