"""What the settings of an installation say to the pure floors."""

from pathlib import Path

import pytest

from mooring_operator.handlers.installation import cluster_domain, has_ipv6, installation
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


@pytest.mark.parametrize(
    "labels",
    ['{"0a": "b"}', '{"a-b": "b"}', '{"a": ""}', '{"mooring_service": "a"}', '{"__name__": "a"}', '{"a": 3}', '["a"]'],
)
def test_labels_that_cannot_tell_clusters_apart_are_refused(labels: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MOORING_PROMETHEUS_LABELS", labels)
    with pytest.raises(ValueError, match="prometheus_labels"):
        Settings()


def test_the_routers_image_and_the_operators_namespace() -> None:
    cluster = installation(Settings(router_image="envoy:1", namespace="mooring", cluster_domain="example.org"))
    assert (cluster.images.router, cluster.operator_namespace, cluster.domain) == ("envoy:1", "mooring", "example.org")


@pytest.mark.parametrize(
    ("searches", "expected"),
    [
        ("search mooring.svc.cluster.local svc.cluster.local cluster.local example.org", "cluster.local"),
        ("search mooring.svc.k8s.example.org. svc.k8s.example.org. k8s.example.org.", "k8s.example.org"),
        ("search example.org\nsearch a.svc.one.local svc.one.local one.local", "one.local"),
        ("search svc.example.org", ""),  # a host's, where a domain happens to be called so
        ("search", ""),
        ("", ""),
    ],
)
def test_a_pods_search_domains_tell_the_clusters_domain(searches: str, expected: str) -> None:
    assert cluster_domain(f"nameserver 10.96.0.10\n{searches}\noptions ndots:5\n") == expected


def test_the_api_servers_address_tells_the_family() -> None:
    assert has_ipv6({"KUBERNETES_SERVICE_HOST": "fd00::1"})
    assert not has_ipv6({"KUBERNETES_SERVICE_HOST": "10.96.0.1"})
    assert not has_ipv6({})


def test_two_processes_have_two_names() -> None:
    assert Settings().pod_name != ""
    assert Settings(pod_name="a").pod_name == "a"


def test_a_wrong_setting_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MOORING_WORKERS", "0")
    with pytest.raises(ValueError, match="workers"):
        Settings()
