"""What the Dockerfiles promise is what the pods and the chart rely on."""

import json
import re
from pathlib import Path
from typing import get_args

import pytest

from mooring_operator.api.v1alpha1 import Variant
from tests.support import chart
from tests.support.rendered import SPECS, children

ROOT = Path(__file__).parents[2]
IMAGES = {"operator": "mooring_operator", "runtime": "mooring_runtime"}


def dockerfile(name: str) -> str:
    return (ROOT / name / "Dockerfile").read_text()


def last(name: str, instruction: str) -> str:
    """The instruction of the final stage."""
    final = dockerfile(name).rpartition("\nFROM ")[2]
    [found] = re.findall(rf"^{instruction} (.+)$", final, re.MULTILINE)
    return str(found)


@pytest.mark.parametrize(("name", "package"), IMAGES.items())
def test_entrypoint_runs_the_package(name: str, package: str) -> None:
    _python, *words = json.loads(last(name, "ENTRYPOINT"))
    assert words == ["-m", package]
    assert (ROOT / name / package).is_dir()


def test_commands_are_the_rendered_ones(manifests: list[chart.Manifest]) -> None:
    [operator] = chart.one(manifests, "Deployment")["spec"]["template"]["spec"]["containers"]
    assert json.loads(last("operator", "CMD")) == operator["args"] == ["run"]
    assert json.loads(last("runtime", "CMD")) == ["serve"]


def test_user_is_the_one_of_the_pods(manifests: list[chart.Manifest]) -> None:
    templates = [chart.one(manifests, "Deployment")["spec"]["template"]]
    templates += [child["spec"]["template"] for child in children("oci", SPECS["oci"]) if child["kind"] == "Deployment"]
    users = {
        f"{context['runAsUser']}:{context['runAsGroup']}"
        for template in templates
        for context in [template["spec"]["securityContext"]]
    }
    assert {last(name, "USER") for name in IMAGES} == users


def test_ports_are_exposed(helm: Path) -> None:
    [server] = [
        child["spec"]["template"]["spec"]["containers"][0]
        for child in children("oci", SPECS["oci"])
        if child["kind"] == "Deployment"
    ]
    whole = chart.render(helm, "--set", "prometheus.url=http://prometheus:9090")  # With the adapter.
    templates = [each["spec"]["template"] for each in whole if each["kind"] == "Deployment"]
    of_operator = [container for template in templates for container in template["spec"]["containers"]]
    for name, containers in (("runtime", [server]), ("operator", of_operator)):
        exposed = {int(port) for port in last(name, "EXPOSE").split()}
        assert {port["containerPort"] for each in containers for port in each["ports"]} == exposed


@pytest.mark.parametrize("name", IMAGES)
def test_both_bases_can_be_replaced(name: str) -> None:
    text = dockerfile(name)
    assert "\nARG BASE=python:3.11-slim-bookworm\n" in text
    assert "\nARG BUILD_BASE=${BASE}\n" in text
    assert re.findall(r"^FROM (\S+)", text, re.MULTILINE) == ["${BUILD_BASE}", "${BASE}"]


@pytest.mark.parametrize("variant", get_args(Variant))
def test_each_variant_has_a_lock(variant: str) -> None:
    lock = (ROOT / "requirements" / f"runtime-{variant}.txt").read_text()
    assert "--hash=sha256:" in lock
    assert f"#   {variant} " in dockerfile("runtime")


@pytest.mark.parametrize("name", IMAGES)
def test_the_context_holds_all_that_is_copied(name: str) -> None:
    allowed = [
        line.removeprefix("!") for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")
    ]
    sources = re.findall(r"^COPY (?!--from)(\S+)", dockerfile(name), re.MULTILINE)
    assert sources
    for source in sources:
        path = source.replace("${VARIANT}", "onnx")
        assert any(Path(path).match(pattern) for pattern in allowed), f"{path} is kept out by .dockerignore"
