"""The adapter as the chart installs it, and its rights: each verb that its code uses, and not one more."""

import json
import re
from pathlib import Path

import pytest
import yaml

from mooring_operator.adapter import identity
from mooring_operator.adapter.certificates import hosts
from mooring_operator.adapter.services import FOLLOWED
from mooring_operator.api import names
from mooring_operator.cluster import kinds
from mooring_operator.cluster.prometheus_access import prometheus_of
from mooring_operator.facts import KedaAccess
from mooring_operator.handlers.installation import installation
from mooring_operator.scaling.scraping import Scraping, matchers_of
from mooring_operator.settings import Settings
from tests.contract.test_rbac import rights
from tests.support import chart
from tests.support.chart import ChartError, Manifest, one, render, verbs
from tests.support.operator import environment

URL = "http://prometheus.monitoring:9090"


@pytest.fixture(scope="module")
def installed(helm: Path) -> list[Manifest]:
    """The chart with a Prometheus."""
    return rendered(helm)


def rendered(helm: Path, *options: str) -> list[Manifest]:
    return render(helm, *(word for option in (f"prometheus.url={URL}", *options) for word in ("--set", option)))


def of_the_adapter(manifests: list[Manifest]) -> list[Manifest]:
    return [each for each in manifests if each["metadata"]["name"].startswith(names.ADAPTER)]


def settings_of(deployment: Manifest, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """What the process reads from the variables of its container."""
    for name, value in environment(deployment).items():
        monkeypatch.setenv(name, value)
    return Settings()


def test_without_a_prometheus_there_is_no_adapter(helm: Path, manifests: list[Manifest]) -> None:
    # It would only serve errors, in the place of a server that has answers.
    assert of_the_adapter(manifests) == []
    assert of_the_adapter(rendered(helm, "adapter.enabled=false")) == []


def test_what_is_installed(installed: list[Manifest]) -> None:
    found = sorted((each["kind"], each["metadata"]["name"]) for each in of_the_adapter(installed))
    assert found == [
        ("ClusterRole", "mooring-adapter"),
        ("ClusterRoleBinding", "mooring-adapter"),
        ("Deployment", "mooring-adapter"),
        ("NetworkPolicy", "mooring-adapter"),
        ("PodDisruptionBudget", "mooring-adapter"),
        ("Role", "mooring-adapter"),
        ("RoleBinding", "mooring-adapter"),
        ("RoleBinding", "mooring-adapter"),
        ("Service", "mooring-adapter"),
        ("Service", "mooring-adapter-metrics"),
        ("ServiceAccount", "mooring-adapter"),
    ]
    for each in of_the_adapter(installed):
        labels = each["metadata"]["labels"]
        assert (labels["app.kubernetes.io/part-of"], labels["app.kubernetes.io/managed-by"]) == ("mooring", "Helm")


def test_the_registration_is_the_adapters_own_work(helm: Path, installed: list[Manifest]) -> None:
    # Helm would refuse the whole release beside KEDA's, and Argo CD would overwrite it.
    assert [each for each in installed if each["kind"] == "APIService"] == []


def test_two_replicas_that_can_be_drained_one_by_one(helm: Path, installed: list[Manifest]) -> None:
    assert one(installed, "Deployment", names.ADAPTER)["spec"]["replicas"] == 2
    assert one(installed, "PodDisruptionBudget", names.ADAPTER)["spec"]["maxUnavailable"] == 1
    alone = rendered(helm, "adapter.replicas=1")
    assert not [each for each in of_the_adapter(alone) if each["kind"] == "PodDisruptionBudget"]


def test_pod_is_restricted_and_keeps_no_key_on_a_disk(installed: list[Manifest]) -> None:
    pod = one(installed, "Deployment", names.ADAPTER)["spec"]["template"]["spec"]
    [container] = pod["containers"]
    assert (container["args"], pod["securityContext"]["runAsNonRoot"]) == (["adapter"], True)
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert pod["volumes"] == [{"name": "tmp", "emptyDir": {"medium": "Memory", "sizeLimit": "16Mi"}}]


def test_selectors_and_ports_agree(installed: list[Manifest], monkeypatch: pytest.MonkeyPatch) -> None:
    deployment = one(installed, "Deployment", names.ADAPTER)
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    for selector in (
        deployment["spec"]["selector"]["matchLabels"],
        one(installed, "Service", names.ADAPTER)["spec"]["selector"],
        one(installed, "Service", f"{names.ADAPTER}-metrics")["spec"]["selector"],
        one(installed, "PodDisruptionBudget", names.ADAPTER)["spec"]["selector"]["matchLabels"],
        one(installed, "NetworkPolicy", names.ADAPTER)["spec"]["podSelector"]["matchLabels"],
    ):
        assert selector.items() <= labels.items()
    # The operator's own Deployment has other labels: neither ever serves for the other.
    assert one(installed, "Deployment")["spec"]["selector"]["matchLabels"].items() - labels.items()

    settings = settings_of(deployment, monkeypatch)
    [container] = deployment["spec"]["template"]["spec"]["containers"]
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    assert ports == {
        "https": settings.adapter_port,
        "health": settings.health_port,
        "metrics": settings.metrics_port,
    }
    [port] = one(installed, "Service", names.ADAPTER)["spec"]["ports"]
    assert (port["port"], port["targetPort"]) == (443, "https")
    policy = one(installed, "NetworkPolicy", names.ADAPTER)["spec"]
    assert [[port["port"] for port in rule["ports"]] for rule in policy["ingress"]] == [[8443], [8081]]
    assert hosts(chart.NAMESPACE)[0] == f"{names.ADAPTER}.{chart.NAMESPACE}.svc"


def test_every_variable_is_read(installed: list[Manifest]) -> None:
    [container] = one(installed, "Deployment", names.ADAPTER)["spec"]["template"]["spec"]["containers"]
    read = {f"MOORING_{name.upper()}" for name in Settings.model_fields}
    assert {variable["name"] for variable in container["env"]} - read == set()


def test_operator_and_adapter_ask_the_same_prometheus(helm: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    options = [
        "prometheus.timeoutSeconds=7",
        "prometheus.scrapeSeconds=5",
        "prometheus.tokenSecret.name=prometheus-token",
        "prometheus.caConfigMap.name=prometheus-ca",
        "networkPolicy.prometheusPorts={9091}",
    ]
    manifests = rendered(helm, *options)
    for name in ("mooring-operator", names.ADAPTER):
        deployment = one(manifests, "Deployment", name)
        settings = settings_of(deployment, monkeypatch)
        assert (settings.prometheus_url, settings.prometheus_timeout_seconds, settings.scrape_seconds) == (URL, 7, 5)
        [container] = deployment["spec"]["template"]["spec"]["containers"]
        mounted = {mount["name"]: Path(mount["mountPath"]) for mount in container["volumeMounts"]}
        assert settings.prometheus_token_file == mounted["prometheus-token"] / "token"
        assert settings.prometheus_ca_file == mounted["prometheus-ca"] / "ca.crt"
        volumes = {volume["name"]: volume for volume in deployment["spec"]["template"]["spec"]["volumes"]}
        assert volumes["prometheus-token"]["secret"]["secretName"] == "prometheus-token"
        assert volumes["prometheus-ca"]["configMap"]["name"] == "prometheus-ca"
        out = one(manifests, "NetworkPolicy", name)["spec"]["egress"]
        assert any([port["port"] for port in rule["ports"]] == [9091] for rule in out)


def test_of_several_clusters_only_the_series_of_this_one_are_asked_for(
    helm: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    value = 'ea"st\\, or {a="b"}'
    labels = json.dumps({"cluster": value, "_site": "7"})
    manifests = render(helm, "--set", f"prometheus.url={URL}", "--set-json", f"prometheus.labels={labels}")
    for name in ("mooring-operator", names.ADAPTER):
        settings = settings_of(one(manifests, "Deployment", name), monkeypatch)
        assert settings.prometheus_labels == {"cluster": value, "_site": "7"}
        asked = prometheus_of(settings)
        assert asked is not None
        assert asked.access.scraping == Scraping(15.0, matchers_of(settings.prometheus_labels))
    assert installation(settings).prometheus_labels == settings.prometheus_labels


def test_keda_is_told_what_to_show_to_prometheus(helm: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    authentication = "prometheus.keda.authentication"
    options = (f"{authentication}.name=prometheus", f"{authentication}.modes=tls\\,basic")
    told = rendered(helm, *options)
    assert not [variable for variable in environment(one(told, "Deployment", names.ADAPTER)) if "KEDA" in variable]
    settings = settings_of(one(told, "Deployment", "mooring-operator"), monkeypatch)
    access = KedaAccess("prometheus", "ClusterTriggerAuthentication", "tls,basic")
    assert installation(settings).keda_access == access
    assert not installation(settings).prometheus_token
    with_token = rendered(helm, f"{authentication}.modes=", *options[:1], "prometheus.tokenSecret.name=a")
    cluster = installation(settings_of(one(with_token, "Deployment", "mooring-operator"), monkeypatch))
    assert cluster.prometheus_token
    assert cluster.keda_access == KedaAccess("prometheus", "ClusterTriggerAuthentication", modes="")


@pytest.mark.parametrize(("seconds", "interval"), [("15", "15000ms"), ("2.5", "2500ms")])
def test_the_operators_own_series_are_scraped_as_often_as_the_pods(helm: Path, seconds: str, interval: str) -> None:
    manifests = render(
        helm, "--set", "serviceMonitor.enabled=true", "--set-json", f"prometheus.scrapeSeconds={seconds}"
    )
    [endpoint] = one(manifests, "ServiceMonitor")["spec"]["endpoints"]
    assert endpoint["interval"] == interval


def test_by_default_keda_shows_nothing(installed: list[Manifest], monkeypatch: pytest.MonkeyPatch) -> None:
    cluster = installation(settings_of(one(installed, "Deployment", "mooring-operator"), monkeypatch))
    assert (cluster.keda_access, cluster.prometheus_token) == (None, False)


def test_somebody_elses_certificate_needs_no_right_to_secrets(helm: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    manifests = rendered(helm, "adapter.certificate.secretName=adapter-tls")
    deployment = one(manifests, "Deployment", names.ADAPTER)
    [container] = deployment["spec"]["template"]["spec"]["containers"]
    mounted = {mount["name"]: Path(mount["mountPath"]) for mount in container["volumeMounts"]}
    assert settings_of(deployment, monkeypatch).adapter_certificate_dir == mounted["serving"]
    assert [each for each in of_the_adapter(manifests) if each["kind"] == "Role"] == []


@pytest.mark.parametrize(
    ("option", "named"),
    [
        ("prometheus.url=prometheus:9090", "/prometheus/url"),
        ("prometheus.url=http://prometheus:9090?a=b", "/prometheus/url"),
        ("prometheus.scrapeSeconds=0", "/prometheus/scrapeSeconds"),
        ("prometheus.labels.0cluster=a", "/prometheus/labels"),
        ("prometheus.labels.clus-ter=a", "/prometheus/labels"),
        ("prometheus.labels.__name__=a", "/prometheus/labels"),
        ("prometheus.labels.mooring_service=a", "/prometheus/labels"),
        ("prometheus.labels.cluster=", "/prometheus/labels/cluster"),
        ("alerts.seriesLabels.mooring_service=a", "/alerts/seriesLabels"),
        ("prometheus.token=x", "token"),
        ("prometheus.keda.authentication.name=Not_A_Name", "/prometheus/keda/authentication/name"),
        ("prometheus.keda.authentication.kind=Secret", "/prometheus/keda/authentication/kind"),
        ("prometheus.keda.authentication.modes=bearer\\,", "/prometheus/keda/authentication/modes"),
        ("adapter.replicas=0", "/adapter/replicas"),
        ("adapter.certificate.secretName=Not_A_Name", "/adapter/certificate/secretName"),
        ("networkPolicy.prometheusPorts={0}", "/networkPolicy/prometheusPorts/0"),
    ],
)
def test_a_wrong_value_is_refused_by_name(helm: Path, option: str, named: str) -> None:
    with pytest.raises(ChartError, match=re.escape(named)):
        rendered(helm, option)


def test_cluster_role_is_exactly_what_is_used(installed: list[Manifest]) -> None:
    used = {right for kind in FOLLOWED for right in rights(kind, "list", "watch")}
    used |= rights(kinds.SUBJECT_ACCESS_REVIEW, "create")
    used |= rights(kinds.API_SERVICE, "get", "create", "patch") | rights(kinds.CLUSTER_ROLE, "get")
    role = one(installed, "ClusterRole", names.ADAPTER)
    assert verbs(role) == used
    # No other API may be registered by it, and no other role read.
    bound = {rule["resources"][0]: rule.get("resourceNames") for rule in role["rules"]}
    assert bound["apiservices"] == [names.EXTERNAL_METRICS_API_SERVICE]
    assert bound["clusterroles"] == [names.ADAPTER]


def test_role_is_for_the_one_secret(installed: list[Manifest], monkeypatch: pytest.MonkeyPatch) -> None:
    [role] = [each for each in of_the_adapter(installed) if each["kind"] == "Role"]
    assert role["metadata"]["namespace"] == chart.NAMESPACE
    assert verbs(role) == rights(kinds.SECRET, "get", "create", "patch")
    [rule] = role["rules"]
    settings = settings_of(one(installed, "Deployment", names.ADAPTER), monkeypatch)
    assert rule["resourceNames"] == [settings.adapter_secret] == [Settings.model_fields["adapter_secret"].default]


def test_bindings_lead_to_the_adapter_only(installed: list[Manifest]) -> None:
    account = {"kind": "ServiceAccount", "name": names.ADAPTER, "namespace": chart.NAMESPACE}
    found = [each for each in of_the_adapter(installed) if each["kind"].endswith("Binding")]
    assert all(each["subjects"] == [account] for each in found)
    places = {(each["metadata"].get("namespace"), each["roleRef"]["name"]) for each in found}
    assert places == {
        (None, names.ADAPTER),
        (chart.NAMESPACE, names.ADAPTER),
        (identity.CONFIG_NAMESPACE, "extension-apiserver-authentication-reader"),
    }


def test_values_of_the_two_are_in_the_schema() -> None:
    schema = json.loads((chart.CHART / "values.schema.json").read_text())["properties"]
    values = yaml.safe_load((chart.CHART / "values.yaml").read_text())
    for part in ("prometheus", "adapter"):
        assert set(schema[part]["properties"]) == set(values[part])
