"""The command line: `python -m tests.cluster VERB`."""

import argparse
import os
import sys
from collections.abc import Callable
from pathlib import Path

from . import assets, host, images, keda, lifecycle, monitoring
from .cluster import find
from .places import ClusterError, state_folder
from .progress import step


def main(arguments: list[str] | None = None) -> int:
    """Runs one verb; returns the exit status."""
    options = _parser().parse_args(arguments)
    try:
        verb: Callable[[argparse.Namespace], int | None] = options.verb
        return verb(options) or 0
    except ClusterError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


def _prerequisites(options: argparse.Namespace) -> None:
    host.install()
    if reason := monitoring.unavailable():
        print(f"tests that need Prometheus will be skipped: {reason}", file=sys.stderr)


def _build(options: argparse.Namespace) -> None:
    print(keda.build() if options.keda else assets.build())


def _up(options: argparse.Namespace) -> None:
    state = _state(options)
    assets.build()
    what = f"{options.nodes} nodes" if options.nodes else "a control plane"
    with lifecycle.held(state), step(f"start cluster {options.name} ({what})"):
        cluster = lifecycle.up(options.name, state, options.nodes)
    print(cluster.kubeconfig)


def _down(options: argparse.Namespace) -> None:
    with lifecycle.held(_state(options)):
        lifecycle.down(_state(options))


def _load(options: argparse.Namespace) -> None:
    cluster = find(_state(options))
    for archive in options.archives:
        with step(f"load {archive}"):
            cluster.load(archive)


def _images(options: argparse.Namespace) -> None:
    for name in options.names:
        image, _, variant = name.partition(":")
        built = images.router() if name == "router" else images.build(image, variant or images.VARIANTS[0])
        print(f"{built.reference} {built.archive}")


def _run(options: argparse.Namespace) -> None:
    cluster = find(_state(options))
    argv = [word for index, word in enumerate(options.command) if index or word != "--"]
    if not argv:
        raise ClusterError("run: name a command, as in `python -m tests.cluster run -- kubectl get nodes`")
    command = cluster.command(*argv)
    os.execvpe(command[0], command, cluster.env())


def _kubeconfig(options: argparse.Namespace) -> None:
    path = find(_state(options)).kubeconfig
    print(path.read_text() if options.content else path)


def _state(options: argparse.Namespace) -> Path:
    return state_folder(options.name, options.state)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.cluster", description="A real Kubernetes on this machine.")
    verbs = parser.add_subparsers(required=True, metavar="VERB")

    def add(name: str, verb: Callable[[argparse.Namespace], int | None], text: str) -> argparse.ArgumentParser:
        command = verbs.add_parser(name, help=text, description=text)
        command.set_defaults(verb=verb)
        return command

    def add_named(name: str, verb: Callable[[argparse.Namespace], int | None], text: str) -> argparse.ArgumentParser:
        command = add(name, verb, text)
        command.add_argument("--name", default="mooring", help="which cluster (default: mooring)")
        command.add_argument("--state", type=Path, help="its state folder (default: build/cluster/NAME)")
        return command

    add("prerequisites", _prerequisites, "install what the host lacks (Debian, root)")
    build = add("build", _build, "build the binaries into the cache, once; print their folder")
    build.add_argument("--keda", action="store_true", help="KEDA, for the long tests that are about it")
    up = add_named("up", _up, "start a cluster, in place of the one that stands")
    up.add_argument("--nodes", type=int, default=0, help="how many nodes (default: 0, a control plane alone)")
    add_named("down", _down, "take a cluster down, also one that a killed run left")
    image = add("images", _images, "build the project's images into build/images, where their sources have changed")
    variants = ", ".join(f"runtime:{variant}" for variant in images.VARIANTS)
    image.add_argument(
        "names", nargs="*", default=["operator", "runtime"], metavar=f"operator|runtime|router|{variants}"
    )
    load = add_named("load", _load, "put images (OCI archives) on every node")
    load.add_argument("archives", nargs="+", type=Path, metavar="IMAGE.tar")
    run = add_named("run", _run, "run a command inside the cluster's network, with its KUBECONFIG")
    run.add_argument("command", nargs=argparse.REMAINDER, metavar="-- COMMAND")
    kubeconfig = add_named("kubeconfig", _kubeconfig, "print the kubeconfig's path")
    kubeconfig.add_argument("--content", action="store_true", help="print what is in it")
    return parser


if __name__ == "__main__":
    sys.exit(main())
