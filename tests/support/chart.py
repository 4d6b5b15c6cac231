"""Renders the chart as `helm install` would."""

import subprocess
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
CHART = ROOT / "charts" / "mooring"
RELEASE = "mooring"
NAMESPACE = "mooring-system"

Manifest = dict[str, Any]


class ChartError(Exception):
    """helm refused; its message."""


def template(helm: Path, *options: str) -> str:
    """Return what helm renders, as text. Raises `ChartError` with helm's words where it refuses."""
    argv = [str(helm), "template", RELEASE, str(CHART), "--namespace", NAMESPACE, *options]
    result = subprocess.run(argv, capture_output=True, text=True, check=False)
    if result.returncode:
        raise ChartError(result.stderr)
    return result.stdout


def render(helm: Path, *options: str) -> list[Manifest]:
    """Return the manifests, parsed."""
    return [found for found in yaml.safe_load_all(template(helm, *options)) if found]


def one(manifests: list[Manifest], kind: str, name: str = "mooring-operator") -> Manifest:
    """Return the one object of that kind and name."""
    [found] = [m for m in manifests if m["kind"] == kind and m["metadata"]["name"] == name]
    return found


def verbs(manifest: Manifest) -> set[tuple[str, str, str]]:
    """Return (group, resource, verb) of every rule of a Role or ClusterRole."""
    return {
        (group, resource, verb)
        for rule in manifest["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }
