"""`python -m mooring_operator`: what a person may run without a cluster."""

import sys
from pathlib import Path

import pytest
import yaml

from mooring_operator.__main__ import main

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "file-type" / "service.yaml"


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["mooring_operator", *arguments])
    return main()


def write(folder: Path, spec: dict[str, object]) -> Path:
    file = folder / "service.yaml"
    metadata = {"name": "sentiment"}
    service = {"apiVersion": "mooring.dev/v1alpha1", "kind": "InferenceService", "metadata": metadata, "spec": spec}
    file.write_text(yaml.safe_dump(service))
    return file


def test_render_prints_the_children(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("MOORING_RUNTIME_IMAGE", "registry.example/runtime:1")
    assert run(monkeypatch, "render", str(EXAMPLE)) == 0
    children = {child["kind"]: child for child in yaml.safe_load_all(capsys.readouterr().out)}
    assert {"Deployment", "Service", "ServiceAccount", "PodDisruptionBudget", "NetworkPolicy"} <= set(children)
    deployment = children["Deployment"]["spec"]
    assert deployment["replicas"] == 1
    assert deployment["template"]["spec"]["containers"][0]["image"] == "registry.example/runtime:1"


def test_render_says_what_is_wrong(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    file = write(tmp_path, {"model": {"uri": "pvc://claim/model.onnx"}, "replicas": "two"})
    assert run(monkeypatch, "render", str(file)) == 1
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.startswith(f"{file}: spec.replicas: ")


def test_render_says_what_is_not_built_yet(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    file = write(tmp_path, {"model": {"uri": "s3://bucket/model.onnx"}})
    assert run(monkeypatch, "render", str(file)) == 1
    assert "spec.model.uri" in capsys.readouterr().err


def test_crds_prints_what_the_repository_holds(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, "crds") == 0
    assert yaml.safe_load(capsys.readouterr().out)["kind"] == "CustomResourceDefinition"
    assert run(monkeypatch, "crds", "--chart") == 0
    assert ".Values.crds.install" in capsys.readouterr().out


def test_a_command_is_needed(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        run(monkeypatch)
    assert ended.value.code == 2
    assert "command" in capsys.readouterr().err
