"""The demo on a cluster of its own, on this machine: two nodes, kept between runs."""

import json
import shutil
import sys
from pathlib import Path

from tests.cluster import assets, host, images, lifecycle, processes
from tests.cluster.cluster import Cluster, find
from tests.cluster.images import Image
from tests.cluster.places import ROOT, ClusterError, cache_folder, state_folder
from tests.cluster.progress import step

from . import ask, build, install
from .install import NAME, NAMESPACE

DEFAULT_NAME = "demo"
NODES = 2


def up(name: str = DEFAULT_NAME) -> None:
    """Brings up what is missing, brings up to date what changed, and asks.

    Raises:
        ClusterError: this machine cannot run it, or a step failed; the message says what to do.
    """
    host.install()
    if reason := host.unfit(NODES):
        raise ClusterError(reason)
    assets.build()
    names, built = build.local()
    state = state_folder(name)
    with lifecycle.held(state):
        cluster = _standing(state) or _start(name, state)
        _load(cluster, built)
        install.install(cluster, names)
        install.apply(cluster, names)
        ask.ask(cluster.command(*ask.client(f"http://{NAME}.{NAMESPACE}.svc")), cluster.env())
    python = sys.executable.removeprefix(f"{ROOT}/")
    prepare = [f"cd {ROOT}", f"export KUBECONFIG={cluster.kubeconfig} PATH={assets.folder()}:$PATH"]
    leave = "make demo-down" if name == DEFAULT_NAME else f"{python} -m tests.demo down --name {name}"
    inside = f"{python} -m tests.cluster run --name {name} -- {python} {ask.CLIENT.relative_to(ROOT)}"
    print(ask.next_steps(prepare, f"{inside} --url http://{NAME}.{NAMESPACE}.svc /bin/ls", leave))


def down(name: str = DEFAULT_NAME) -> None:
    """Takes the cluster down and removes its folder; the binaries and the images stay in the cache."""
    state = state_folder(name)
    with lifecycle.held(state), step(f"take cluster {name} down"):
        lifecycle.down(state)
        shutil.rmtree(state, ignore_errors=True)
        # While it is held: whoever comes next makes a new one.
        state.with_name(f"{state.name}.lock").unlink(missing_ok=True)
    print(f"kept for the next time: binaries and images in {cache_folder()}, archives in {images.FOLDER}")


def _standing(state: Path) -> Cluster | None:
    """The demo's cluster, if all of it is alive."""
    try:
        cluster = find(state)
    except ClusterError:
        return None
    alive = all(component.alive() for component in processes.components(state))
    return cluster if alive and cluster.nodes == NODES else None


def _start(name: str, state: Path) -> Cluster:
    with step(f"start a cluster of {NODES} nodes"):
        return lifecycle.up(name, state, NODES)


def _load(cluster: Cluster, built: list[Image]) -> None:
    """Puts the images on the nodes that are not there yet."""
    record = cluster.state / "images.loaded"
    loaded: list[str] = json.loads(record.read_text()) if record.exists() else []
    for image in built:
        if image.reference not in loaded:
            with step(f"load {image.reference}"):
                cluster.load(image.archive)
            loaded.append(image.reference)
            record.write_text(json.dumps(loaded))
