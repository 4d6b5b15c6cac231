"""The demos on a cluster of their own, on this machine: two nodes, kept between runs."""

import json
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.cluster import assets, host, images, lifecycle, processes
from tests.cluster.cluster import Cluster, find
from tests.cluster.images import Image
from tests.cluster.places import ROOT, ClusterError, cache_folder, state_folder
from tests.cluster.progress import step

from . import ask, build, install, speech
from .build import Built
from .install import NAMESPACE

DEFAULT_NAME = "demo"
NODES = 2


def up(name: str = DEFAULT_NAME) -> None:
    """Brings up what is missing, brings up to date what changed, and asks.

    Raises:
        ClusterError: this machine cannot run it, or a step failed; the message says what to do.
    """
    with _installed(name) as (cluster, built):
        _load(cluster, [built.model])
        service = install.apply(cluster, install.FILE_TYPE, built.names.model)
        url = f"http://{service}.{NAMESPACE}.svc"
        ask.ask(cluster.command(*ask.client(url)), cluster.env())
        inside = [*_inside(name), ask.CLIENT.relative_to(ROOT), "--url", url, "/bin/ls"]
        print(ask.next_steps(_prepare(cluster), " ".join(map(str, inside)), _leave(name)))


def stateful(name: str = DEFAULT_NAME) -> None:
    """Brings up the same cluster, or uses it, and streams sound to a service whose pod is killed meanwhile.

    Raises:
        ClusterError: as `up`; or something was lost.
    """
    with _installed(name) as (cluster, built):
        _load(cluster, [built.router, built.speech])
        service = install.apply(cluster, install.SPEECH, built.names.speech)
        with cluster.door(service, NAMESPACE, 80) as address:
            speech.play(cluster, f"http://{address}")
        speech.back(cluster)
        inside = [*_inside(name), speech.CLIENT.relative_to(ROOT), "--url", f"http://{service}.{NAMESPACE}.svc"]
        print(speech.next_steps(_prepare(cluster), " ".join(map(str, inside)), _leave(name)))


def down(name: str = DEFAULT_NAME) -> None:
    """Takes the cluster down and removes its folder; the binaries and the images stay in the cache."""
    state = state_folder(name)
    with lifecycle.held(state), step(f"take cluster {name} down"):
        lifecycle.down(state)
        shutil.rmtree(state, ignore_errors=True)
        # While it is held: whoever comes next makes a new one.
        state.with_name(f"{state.name}.lock").unlink(missing_ok=True)
    print(f"kept for the next time: binaries and images in {cache_folder()}, archives in {images.FOLDER}")


@contextmanager
def _installed(name: str) -> Iterator[tuple[Cluster, Built]]:
    """The cluster with the chart on it; nobody else changes it while the block runs."""
    host.install()
    if reason := host.unfit(NODES):
        raise ClusterError(reason)
    assets.build()
    built = build.local()
    state = state_folder(name)
    with lifecycle.held(state):
        cluster = _standing(state) or _start(name, state)
        _load(cluster, [built.operator, built.runtime])
        install.install(cluster, built.names)
        yield cluster, built


def _prepare(cluster: Cluster) -> list[str]:
    return [f"cd {ROOT}", f"export KUBECONFIG={cluster.kubeconfig} PATH={assets.folder()}:$PATH"]


def _inside(name: str) -> list[str]:
    """The words that run a script inside the cluster's network."""
    python = _python()
    return [python, "-m", "tests.cluster", "run", "--name", name, "--", python]


def _leave(name: str) -> str:
    return "make demo-down" if name == DEFAULT_NAME else f"{_python()} -m tests.demo down --name {name}"


def _python() -> str:
    return sys.executable.removeprefix(f"{ROOT}/")


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
