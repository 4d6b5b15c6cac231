"""What the settings of an installation say to the pure floors."""

from pathlib import Path

import pytest

from mooring_operator.handlers.installation import installation
from mooring_operator.settings import Settings


def test_a_variant_without_an_image_is_not_installed() -> None:
    cluster = installation(Settings(runtime_image="a", runtime_image_onnx_gpu="", runtime_image_torch="c"))
    assert cluster.images.by_variant == {"onnx": "a", "torch": "c"}


def test_settings_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MOORING_MODEL_PULL_POLICY", "Never")
    monkeypatch.setenv("MOORING_MONITORING_NAMESPACE", "seen")
    monkeypatch.setenv("KUBECONFIG", "/somewhere/config")
    settings = Settings()
    cluster = installation(settings)
    assert (cluster.images.pull_policy, cluster.monitoring_namespace) == ("Never", "seen")
    assert settings.kubeconfig == Path("/somewhere/config")


def test_two_processes_have_two_names() -> None:
    assert Settings().pod_name != ""
    assert Settings(pod_name="a").pod_name == "a"


def test_a_wrong_setting_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MOORING_WORKERS", "0")
    with pytest.raises(ValueError, match="workers"):
        Settings()
