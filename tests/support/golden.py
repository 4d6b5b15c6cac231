"""Golden files: what a pure function makes of a written spec, kept beside it; `--update-golden` rewrites them.

A case is a folder under `tests/operator/golden/`: `spec.yaml` is what a user applies, `step.yaml`, where there is one,
what the round was told to do, `cluster.yaml`, where there is one, what the cluster has besides, `children.yaml` what
comes out.
"""

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import yaml

from mooring_operator import desired
from mooring_operator.facts import Cluster, KedaAccess, Manifest, Scaler, Service, Step
from tests.support import builders

GOLDEN = Path(__file__).parents[1] / "operator" / "golden"


@dataclass(frozen=True)
class Case:
    """A spec and what the round does with it."""

    name: str
    service: Service
    cluster: Cluster
    step: Step

    def path(self, file: str) -> Path:
        """Return the path of one of the case's files."""
        return GOLDEN / self.name / file

    def children(self) -> list[Manifest]:
        """Return what the operator renders."""
        return desired.children(self.service, self.cluster, self.step)


def case_names() -> list[str]:
    """Return the names of all cases, sorted."""
    return sorted(path.parent.name for path in GOLDEN.glob("*/spec.yaml"))


def case(name: str, namespace: str = builders.NAMESPACE) -> Case:
    """Return a case. Raises `ValueError` when its step has a field that `Step` has not."""
    told = _written(name, "step.yaml")
    unknown = set(told) - {field.name for field in fields(Step)}
    if unknown:
        raise ValueError(f"{GOLDEN / name / 'step.yaml'}: no such field of Step: {', '.join(sorted(unknown))}")
    service = builders.service_from(GOLDEN / name / "spec.yaml", namespace)
    if "replicas" not in told and service.spec.scaling is None:
        told["replicas"] = service.spec.replicas
    if "scaler" in told:
        told["scaler"] = Scaler(**told["scaler"])
    known = _written(name, "cluster.yaml")
    if "keda_access" in known:
        known["keda_access"] = KedaAccess(**known["keda_access"])
    return Case(name, service, builders.cluster(**known), Step(**told))


def _written(name: str, file: str) -> dict[str, Any]:
    path = GOLDEN / name / file
    return yaml.safe_load(path.read_text()) if path.exists() else {}


def compare(path: Path, text: str, update: bool) -> None:
    """Fail unless the file holds the text; with `update`, write it."""
    if update:
        path.write_text(text)
        return
    assert path.exists(), f"{path} is not there: run pytest with --update-golden and review what it writes"
    assert text == path.read_text(), f"{path} differs: if that is meant, run pytest with --update-golden"


def dump(documents: list[Any]) -> str:
    """Return YAML documents, keys in the order in which they were made, nothing by reference."""
    return yaml.dump_all(documents, Dumper=_Dumper, sort_keys=False, width=120, explicit_start=True)


class _Dumper(yaml.SafeDumper):
    """Writes each object out where it stands: an alias would hide that two manifests share one."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _text(dumper: _Dumper, text: str) -> yaml.ScalarNode:
    """Files and scripts are written as they are read, line by line."""
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Dumper.add_representer(str, _text)
