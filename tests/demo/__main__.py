"""`make demo`: a real model on a real cluster, from nothing, and a real answer.

python -m tests.demo up                                      on a cluster of its own, on this machine
python -m tests.demo up --context CTX --registry HOST/PATH   on yours, with images pushed to your registry
python -m tests.demo stateful [the same]                     a model with state, through a crash
python -m tests.demo down [--context CTX]                    leaves nothing
"""

import argparse
import subprocess
import sys

from tests.cluster.places import ClusterError

from . import local, remote


def main(arguments: list[str] | None = None) -> int:
    """Runs one verb; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.demo", description="A real model on a real cluster, and a real answer."
    )
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    up = verbs.add_parser("up", help="bring it up, or up to date, and ask it")
    stateful = verbs.add_parser("stateful", help="stream sound to a model with state, and kill its pod meanwhile")
    for verb in (up, stateful):
        verb.add_argument(
            "--registry", metavar="HOST/PATH", help="where your cluster pulls from; images are pushed there"
        )
        verb.add_argument(
            "--insecure-registry", action="store_true", help="push over plain HTTP, or without checking certificates"
        )
    down = verbs.add_parser("down", help="take it down")
    for verb in (up, stateful, down):
        verb.add_argument(
            "--context", metavar="CTX", help="a context of your KUBECONFIG; left out: a cluster made here"
        )
        verb.add_argument("--name", default=local.DEFAULT_NAME, help="name of the cluster made here (default: demo)")
    options = parser.parse_args(arguments)
    if options.verb != "down" and bool(options.context) != bool(options.registry):
        up.error("--context and --registry go together: your cluster can only run what it can pull")
    try:
        _run(options)
    except ClusterError as error:
        print(f"\nerror: {error}", file=sys.stderr)
        return 1
    except subprocess.TimeoutExpired as error:
        print(f"\nerror: `{' '.join(map(str, error.cmd))}` took longer than {error.timeout:.0f} s", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nstopped; the same command goes on from here, `make demo-down` takes it down", file=sys.stderr)
        return 130
    return 0


def _run(options: argparse.Namespace) -> None:
    if options.verb == "down":
        if options.context:
            remote.down(options.context)
        else:
            local.down(options.name)
    elif options.context:
        there = remote.up if options.verb == "up" else remote.stateful
        there(options.context, options.registry, options.insecure_registry)
    else:
        here = local.up if options.verb == "up" else local.stateful
        here(options.name)


if __name__ == "__main__":
    sys.exit(main())
