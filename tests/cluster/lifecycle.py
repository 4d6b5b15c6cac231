"""Starts a cluster, takes it down, and removes what a killed run left."""

import fcntl
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from . import assets, cgroups, controlplane, credentials, host, mountpoints, network, nodes, processes
from .cluster import Cluster
from .places import ClusterError, run_folder


def up(name: str, state: Path, node_count: int = 0) -> Cluster:
    """Starts a cluster: a control plane alone (4 s), or with nodes (about 12 s).

    What stands in `state`, alive or left by a killed run, is taken down first.

    Raises:
        ClusterError: the host cannot run it, or a part did not come up; nothing is left running then.
    """
    if reason := host.unfit(node_count) or assets.missing():
        raise ClusterError(reason)
    sweep()
    down(state)
    shutil.rmtree(state, ignore_errors=True)
    state.mkdir(parents=True)
    try:
        return _start(name, state, node_count)
    except BaseException:
        down(state)
        raise


def down(state: Path) -> None:
    """Takes down what stands in `state` and removes all but its logs; does nothing where nothing stands.

    It works from what the host shows, not from what was written down, so it also clears up after a run
    that was killed: no process, cgroup, mount, socket or data of the cluster is left.
    """
    processes.kill_all(state, lambda: cgroups.processes(state))
    cgroups.remove(state)
    shutil.rmtree(run_folder(state), ignore_errors=True)
    if state.is_dir():
        for entry in state.iterdir():
            if entry.is_dir() and not entry.is_symlink():
                shutil.rmtree(entry)
            elif entry.suffix != ".log":
                entry.unlink()
    if mountpoints.possible():
        mountpoints.remove()


def sweep() -> None:
    """Takes down clusters whose checkout is gone: nobody else ever could."""
    for state in {Path(value) for value in processes.marks().values()}:
        if not state.is_dir():
            down(state)


@contextmanager
def held(state: Path) -> Iterator[None]:
    """Keeps `state` to this process, until the block or the process ends.

    Raises:
        ClusterError: another process holds it.
    """
    state.parent.mkdir(parents=True, exist_ok=True)
    with state.with_name(f"{state.name}.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ClusterError(f"cluster {state.name} is in use by another run: choose another --name") from error
        yield


def _start(name: str, state: Path, node_count: int) -> Cluster:
    cluster = Cluster(name, state, controlplane.free_address(state), node_count)
    inside = [network.node_address(0), "10.96.0.1"] if node_count else []
    names = [nodes.name(node) for node in range(node_count)]
    tokens = credentials.write(state / "pki", [cluster.address, "127.0.0.1", *inside], names)
    credentials.write_kubeconfig(cluster.kubeconfig, cluster.server, cluster.authority, tokens["admin"])
    if node_count:
        network.start(state, node_count)
        network.open_door(state, cluster.address)
    controlplane.start(_plane(cluster), cluster.server)
    cluster.apply(controlplane.STORAGE_CLASS)
    # Pods are refused until the controllers have made the account that they run as.
    processes.wait_until(
        lambda: bool(cluster.kubectl("get", "serviceaccount", "default", "--ignore-not-found")), 30, "the controllers"
    )
    if node_count:
        nodes.start(cluster.state, node_count, cluster.server, tokens)
        cluster.apply(*nodes.DNS)
        processes.wait_until(lambda: _ready_nodes(cluster) == set(names), 60, f"{node_count} nodes to be ready")
    cluster.save()
    return cluster


def _ready_nodes(cluster: Cluster) -> set[str]:
    conditions = "{range .items[*]}{.metadata.name}={.status.conditions[?(@.type=='Ready')].status} {end}"
    found = cluster.kubectl("get", "nodes", "-o", f"jsonpath={conditions}").split()
    return {entry.removesuffix("=True") for entry in found if entry.endswith("=True")}


def _plane(cluster: Cluster) -> controlplane.Plane:
    folder = assets.folder()
    if cluster.nodes:
        enter = network.enter(cluster.state, cluster.state)
        return controlplane.Plane(folder, cluster.state, cluster.address, network.node_address(0), enter, ())
    provision = None
    if mountpoints.possible():
        volumes = cluster.state / "volumes"
        volumes.mkdir()
        bind = f'mount --bind "$0" {mountpoints.VOLUMES} && exec "$@"'
        provision = ("unshare", "--mount", "sh", "-c", bind, str(volumes))
    return controlplane.Plane(folder, cluster.state, cluster.address, provision=provision)
