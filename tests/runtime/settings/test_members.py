"""Settings of a server that is one of several: what must stand beside what."""

import pytest

from mooring_runtime.settings import ServeSettings
from mooring_runtime.settings.variables import SettingsError, load

MEMBER = {
    "MOORING_MODEL_NAME": "m",
    "MOORING_MODEL_PATH": "/m.onnx",
    "MOORING_SESSION_PATH": "/volume",
    "MOORING_ORDINAL": "2",
    "MOORING_PEER_ADDRESS": "http://demo-{ordinal}.demo-peers:8003/",
    "MOORING_PEER_TOKEN_FILE": "/token",
}


def test_a_member_knows_its_peers() -> None:
    settings = load(ServeSettings, MEMBER)
    assert (settings.ordinal, settings.peer_address) == (2, "http://demo-{ordinal}.demo-peers:8003")


@pytest.mark.parametrize("name", ["MOORING_ORDINAL", "MOORING_PEER_ADDRESS", "MOORING_PEER_TOKEN_FILE"])
def test_what_a_member_needs_is_named(name: str) -> None:
    without = {key: value for key, value in MEMBER.items() if key != name}
    with pytest.raises(SettingsError, match=f"{name} is not set"):
        load(ServeSettings, without)
    load(ServeSettings, {**without, "MOORING_STAND_ALONE": "true"})


def test_https_between_members_needs_a_certificate() -> None:
    https = {**MEMBER, "MOORING_PEER_ADDRESS": "https://demo-{ordinal}.demo-peers:8003"}
    with pytest.raises(SettingsError, match="MOORING_TLS_CERT_FILE, which is not set"):
        load(ServeSettings, https)
    load(ServeSettings, {**https, "MOORING_TLS_CERT_FILE": "/cert", "MOORING_TLS_KEY_FILE": "/key"})


@pytest.mark.parametrize(
    "address", ["demo-{ordinal}:8003", "http://demo:8003", "http://u@demo-{ordinal}", "http://{ordinal}/x"]
)
def test_an_address_of_peers_has_the_ordinal_in_its_host(address: str) -> None:
    with pytest.raises(SettingsError, match="MOORING_PEER_ADDRESS"):
        load(ServeSettings, {**MEMBER, "MOORING_PEER_ADDRESS": address})
