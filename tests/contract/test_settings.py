"""What the operator puts into a pod, the runtime reads; and what the chart gives the operator, the operator reads."""

from typing import Any

import pytest

from mooring_operator.api import names
from mooring_operator.settings import Settings as OperatorSettings
from mooring_runtime.metrics import Aims, constant_labels
from mooring_runtime.settings import FetchSettings, ServeSettings, file_name, load, settings_of
from tests.support import chart
from tests.support.rendered import SPECS, children, containers, environment, golden_specs

COMMANDS: dict[str, type[ServeSettings] | type[FetchSettings]] = {
    "serve": ServeSettings,
    "check": ServeSettings,
    "fetch": FetchSettings,
}
ALL = {**golden_specs(), **SPECS}


def variables(command: str) -> set[str]:
    return {setting.variable for setting in settings_of(COMMANDS[command])}


@pytest.mark.parametrize("name", ALL)
def test_every_rendered_variable_is_read(name: str) -> None:
    for container in containers(children(name, ALL[name])):
        command = container["args"][0]
        theirs = {variable["name"] for variable in (ALL[name].get("runtime") or {}).get("env", ())}
        ours = {k: v for k, v in environment(container).items() if k not in theirs}
        assert set(ours) <= variables(command)
        load(COMMANDS[command], ours)  # raises where a value is not what the runtime takes


@pytest.mark.parametrize("name", ALL)
def test_every_required_variable_is_rendered(name: str) -> None:
    for container in containers(children(name, ALL[name])):
        required = {each.variable for each in settings_of(COMMANDS[container["args"][0]]) if each.required}
        assert required <= set(environment(container))


def test_both_sides_agree_on_values() -> None:
    [server] = [each for each in containers(children("oci", SPECS["oci"])) if each["args"][0] == "serve"]
    settings = load(ServeSettings, environment(server))
    assert isinstance(settings, ServeSettings)
    ports = {port["name"]: port["containerPort"] for port in server["ports"]}
    assert settings.http_port == ports["http"] == names.HTTP_PORT
    assert settings.metrics_port == ports["metrics"] == names.METRICS_PORT
    assert settings.model_name == "oci"
    assert str(settings.model_path) == server["volumeMounts"][0]["mountPath"]


def settings_of_server(name: str, spec: dict[str, Any]) -> ServeSettings:
    [server] = [each for each in containers(children(name, spec)) if each["args"][0] == "serve"]
    settings = load(ServeSettings, environment(server))
    assert isinstance(settings, ServeSettings)
    return settings


def test_a_server_knows_whose_it_is() -> None:
    settings = settings_of_server("oci", SPECS["oci"])
    assert constant_labels(settings.service, settings.namespace) == {
        "mooring_service": "oci",
        "mooring_namespace": "models",
    }
    assert (settings.latency_target, settings.queue) == (None, None)


@pytest.mark.parametrize(("target", "seconds"), [("80ms", 0.08), ("9ms", 0.009), ("1s500ms", 1.5), ("2m", 120.0)])
def test_the_latency_target_of_a_service_is_that_of_its_servers(target: str, seconds: float) -> None:
    scaling = {"maxReplicas": 4, "latency": {"target": target}}
    assert settings_of_server("oci", {**SPECS["oci"], "scaling": scaling}).latency_target == seconds


def test_a_bound_that_a_user_gives_the_queue_holds() -> None:
    spec = {**SPECS["oci"], "scaling": {"maxReplicas": 4, "latency": {"target": "80ms"}}, "runtime": {"queue": 77}}
    settings = settings_of_server("oci", spec)
    assert not Aims(settings.latency_target, settings.queue).bounded
    assert settings.queue == 77


def test_defaults_of_the_runtime_are_the_rendered_ones() -> None:
    # The image is also run by hand; it then listens where Kubernetes would look.
    defaults = {each.variable: each.default for each in settings_of(ServeSettings)}
    assert defaults[names.ENV_HTTP_PORT] == names.HTTP_PORT
    assert defaults[names.ENV_METRICS_PORT] == names.METRICS_PORT
    assert str(defaults["MOORING_TERMINATION_LOG"]) == names.TERMINATION_LOG
    fetch = {each.variable: each.default for each in settings_of(FetchSettings)}
    assert str(fetch[names.ENV_MODEL_DIR]) == names.MODEL_DIR


def test_the_fetched_file_is_where_the_server_looks() -> None:
    fetch, server = (
        next(each for each in containers(children("https", SPECS["https"])) if each["args"][0] == command)
        for command in ("fetch", "serve")
    )
    written = f"{environment(fetch)[names.ENV_MODEL_DIR]}/{file_name(environment(fetch)[names.ENV_MODEL_URI])}"
    assert environment(server)[names.ENV_MODEL_PATH] == written


def test_every_variable_of_the_chart_is_read(manifests: list[chart.Manifest]) -> None:
    [container] = chart.one(manifests, "Deployment")["spec"]["template"]["spec"]["containers"]
    given = {entry["name"]: entry.get("value", "from-the-pod") for entry in container["env"]}
    read = {f"{names.ENV_PREFIX}{field.upper()}" for field in OperatorSettings.model_fields}
    assert set(given) <= read


def test_the_key_of_the_peers_is_mounted_where_the_operator_looks(manifests: list[chart.Manifest]) -> None:
    pod = chart.one(manifests, "Deployment")["spec"]["template"]["spec"]
    [container] = pod["containers"]
    given = {entry["name"]: entry.get("value", "") for entry in container["env"]}
    [mount] = [mount for mount in container["volumeMounts"] if mount["name"] == "peer-key"]
    [volume] = [volume for volume in pod["volumes"] if volume["name"] == "peer-key"]
    assert given["MOORING_PEER_KEY_FILE"] == f"{mount['mountPath']}/{names.PEER_KEY_KEY}"
    assert given["MOORING_PEER_KEY_SECRET"] == volume["secret"]["secretName"]
    # The operator makes it: its first pod must start without.
    assert volume["secret"]["optional"] is True
    assert OperatorSettings.model_fields["peer_key_secret"].default == volume["secret"]["secretName"]


def test_the_operator_may_reach_the_peer_port(manifests: list[chart.Manifest]) -> None:
    rules = chart.one(manifests, "NetworkPolicy")["spec"]["egress"]
    [rule] = [rule for rule in rules if names.PEER_PORT in [port["port"] for port in rule["ports"]]]
    [peer] = rule["to"]
    assert peer["namespaceSelector"] == {}
    assert [each["key"] for each in peer["podSelector"]["matchExpressions"]] == [names.LABEL_SERVICE]


def test_the_operator_takes_the_values_of_the_chart(
    manifests: list[chart.Manifest], monkeypatch: pytest.MonkeyPatch
) -> None:
    [container] = chart.one(manifests, "Deployment")["spec"]["template"]["spec"]["containers"]
    for entry in container["env"]:
        monkeypatch.setenv(entry["name"], entry.get("value", "from-the-pod"))
    settings = OperatorSettings()
    ports: dict[str, Any] = {port["name"]: port["containerPort"] for port in container["ports"]}
    assert settings.health_port == ports["health"]
    assert settings.metrics_port == ports["metrics"]
    assert settings.pod_name == "from-the-pod"
    defaults = OperatorSettings.model_fields
    # A default that differs from the chart's would be a second truth for whoever runs the operator by hand.
    for field in ("concurrency", "workers", "resync_seconds", "monitoring_namespace", "lease_name", "log_format"):
        assert getattr(settings, field) == defaults[field].default
