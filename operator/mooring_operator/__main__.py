"""The command line: `run` the operator, `adapter` for its metrics, `render` a file's children, print the `crds`."""

import argparse
import sys
from datetime import UTC, datetime
from pathlib import Path

import uvloop
import yaml

from . import desired, plan, validation
from .api import crd
from .facts import Members, Observed, Problem
from .handlers.installation import discover, installation
from .settings import Settings


def main() -> int:
    """Run the command that the arguments name; return the exit status."""
    parser = argparse.ArgumentParser(prog="mooring_operator", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("run", help="run the operator; settings come from MOORING_ variables")
    commands.add_parser("adapter", help="serve external metrics to autoscalers; settings come from the same variables")
    render = commands.add_parser("render", help="print what an InferenceService becomes, without a cluster")
    render.add_argument("file", type=Path)
    crds = commands.add_parser("crds", help="print the CustomResourceDefinition")
    crds.add_argument("--chart", action="store_true", help="as a template of the chart")
    arguments = parser.parse_args()
    if arguments.command == "run":
        return _run()
    if arguments.command == "adapter":
        return _adapter()
    if arguments.command == "render":
        return _render(arguments.file)
    print(crd.render_chart() if arguments.chart else crd.render(), end="")
    return 0


def _run() -> int:
    # kopf and the client take a second to import, and the other commands need neither.
    from .handlers.logs import configure  # noqa: PLC0415
    from .handlers.run import run  # noqa: PLC0415

    settings = Settings()
    configure(settings)
    return uvloop.run(run(settings))


def _adapter() -> int:
    from .adapter.server import run  # noqa: PLC0415
    from .handlers.logs import configure  # noqa: PLC0415

    settings = Settings()
    configure(settings)
    return uvloop.run(run(settings, discover))


def _render(file: Path) -> int:
    cluster = installation(Settings())
    service = validation.parse_service(yaml.safe_load(file.read_text()))
    if isinstance(service, list):
        return _complain(file, service)
    members = None if service.spec.state is None else Members()
    observed = Observed(now=datetime.now(UTC), status={}, members=members)
    if problems := [*validation.not_built(service.spec), *validation.check(service, observed, cluster)]:
        return _complain(file, problems)
    _complain(file, validation.check_scaling(service.spec.scaling, cluster))
    step = plan.plan(service, observed, desired.template_hash(service, cluster))
    children = desired.children(service, cluster, step)
    print(desired.text(children), end="")
    return 0


def _complain(file: Path, problems: list[Problem]) -> int:
    for problem in problems:
        print(f"{file}: {problem.field}: {problem.message}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
