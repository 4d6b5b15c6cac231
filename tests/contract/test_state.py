"""What a spec says of state, the runtime goes by: each field, in the units of each side."""

import json
from typing import Any

import pytest

from mooring_operator.api import names
from mooring_operator.api.v1alpha1 import State
from mooring_operator.desired import peers
from mooring_runtime.settings import ServeSettings, load
from tests.support.rendered import children, containers, environment, golden_specs, service

# Fields that are about volumes and replicas: the operator acts on them, the server need not know them.
THE_OPERATORS = {"volume", "retention", "drainTimeout"}


def spec(**state: Any) -> dict[str, Any]:
    return {"model": {"uri": "oci://registry.example/a:1"}, "state": {"volume": {"size": "20Gi"}, **state}}


def settings(**state: Any) -> ServeSettings:
    [server] = containers(children("speech", spec(**state)))
    found = load(ServeSettings, environment(server))
    assert isinstance(found, ServeSettings)
    return found


@pytest.mark.parametrize(
    ("state", "field", "expected"),
    [
        ({"sessionTTL": "1h30m"}, "session_ttl", 5400.0),
        ({"sessionTTL": "8760h"}, "session_ttl", 31536000.0),
        ({"durability": {"mode": "step"}}, "session_durability", "step"),
        ({"durability": {"mode": "interval", "interval": "50ms"}}, "session_interval", 0.05),
        ({"durability": {"mode": "interval", "interval": "1m1s"}}, "session_interval", 61.0),
        ({"stateVersion": "2"}, "state_version", "2"),
        ({"converter": "up.onnx"}, "state_converter", "up.onnx"),
        ({"maxSessionBytes": "1.5Gi"}, "max_session_bytes", 1610612736),
        ({"maxSessionBytes": "16M"}, "max_session_bytes", 16000000),
        ({"maxSessions": 100_000_000}, "max_sessions", 100_000_000),
    ],
)
def test_a_field_of_state_is_what_the_server_reads(state: dict[str, Any], field: str, expected: object) -> None:
    assert getattr(settings(**state), field) == expected


def test_every_field_of_state_is_tried() -> None:
    [mark] = test_a_field_of_state_is_what_the_server_reads.pytestmark
    tried = {name for state, *_ in mark.args[1] for name in state}
    fields = {field.alias for field in State.model_fields.values()}
    assert fields == tried | THE_OPERATORS


def test_the_server_is_one_of_several_and_knows_the_others_by_the_names_that_they_have() -> None:
    found = settings()
    assert not found.stand_alone
    assert found.ordinal == 0
    assert found.peer_port == names.PEER_PORT
    [headless] = [child for child in children("speech", spec()) if child["metadata"]["name"] == "speech-peers"]
    name, namespace = headless["metadata"]["name"], headless["metadata"]["namespace"]
    assert found.peer_address.format(ordinal=3) == f"http://speech-3.{name}.{namespace}.svc:{names.PEER_PORT}"
    assert found.peer_address == peers.peer_address(service("speech", spec()))


def test_the_router_closes_connections_that_rest_before_the_server_does() -> None:
    [config] = [child for child in children("speech", spec()) if child["kind"] == "ConfigMap"]
    kind = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
    for cluster in json.loads(config["data"]["cds.json"])["resources"]:
        common = cluster["typed_extension_protocol_options"][kind]["common_http_protocol_options"]
        assert float(common["idle_timeout"].removesuffix("s")) < settings().idle_timeout


def test_the_golden_case_has_every_field() -> None:
    written = golden_specs()["stateful-everything"]["state"]
    assert set(written) == {field.alias for field in State.model_fields.values()}
