import json

import pytest
from multidict import CIMultiDict, CIMultiDictProxy

from mooring_operator.adapter.identity import FrontProxy, Identity, front_proxy, identity
from mooring_operator.adapter.wire import ApiError

CONFIG = {
    "requestheader-client-ca-file": "-----BEGIN CERTIFICATE-----\n",
    "requestheader-allowed-names": '["front-proxy", "aggregator"]',
    "requestheader-username-headers": '["X-Remote-User", "X-Other-User"]',
    "requestheader-group-headers": '["X-Remote-Group"]',
    "requestheader-uid-headers": '["X-Remote-Uid"]',
    "requestheader-extra-headers-prefix": '["X-Remote-Extra-"]',
    # Every user of the cluster has a certificate of this one.
    "client-ca-file": "-----BEGIN CERTIFICATE-----\nof the users\n",
}
PROXY = front_proxy({"data": CONFIG})
PEER = {"subject": ((("organizationName", "x"),), (("commonName", "front-proxy"),))}


def headers(*pairs: tuple[str, str]) -> CIMultiDictProxy[str]:
    return CIMultiDictProxy(CIMultiDict(pairs))


def test_the_front_proxys_authority_is_not_that_of_the_users() -> None:
    assert (
        FrontProxy(
            authority="-----BEGIN CERTIFICATE-----\n",
            allowed_names=frozenset({"front-proxy", "aggregator"}),
            user_headers=("X-Remote-User", "X-Other-User"),
            group_headers=("X-Remote-Group",),
            uid_headers=("X-Remote-Uid",),
            extra_prefixes=("X-Remote-Extra-",),
        )
        == PROXY
    )


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"requestheader-client-ca-file": " "}, "no requestheader-client-ca-file"),
        ({"requestheader-client-ca-file": None}, "no requestheader-client-ca-file"),
        ({"requestheader-username-headers": "[]"}, "names no requestheader-username-headers"),
        ({"requestheader-allowed-names": "front-proxy"}, "requestheader-allowed-names is no JSON"),
        ({"requestheader-allowed-names": '"front-proxy"'}, "not a list of names"),
        ({"requestheader-group-headers": "[1]"}, "not a list of names"),
    ],
)
def test_who_cannot_be_told_is_not_believed(change: dict[str, str], says: str) -> None:
    # A list of allowed names that cannot be read must not become an empty one, which lets everybody in.
    with pytest.raises(ValueError, match=says):
        front_proxy({"data": {**CONFIG, **change}})


def test_nobody_is_configured() -> None:
    with pytest.raises(ValueError, match="kube-system/extension-apiserver-authentication"):
        front_proxy({})


def test_the_proxy_tells_user_groups_uid_and_extra() -> None:
    told = headers(
        ("x-remote-user", "jane"),
        ("X-Remote-Group", "team"),
        ("X-Remote-Group", "system:authenticated"),
        ("X-Remote-Uid", "u-1"),
        ("X-Remote-Extra-Scopes%2Fa", "one"),
        ("X-Remote-Extra-Scopes%2Fa", "two"),
    )
    assert identity(PROXY, PEER, told) == Identity(
        "jane", ("team", "system:authenticated"), "u-1", (("scopes/a", ("one", "two")),)
    )


def test_the_first_header_that_names_a_user_counts() -> None:
    assert identity(PROXY, PEER, headers(("X-Remote-User", " "), ("X-Other-User", "jane"))).user == "jane"


@pytest.mark.parametrize(
    "peer",
    [
        None,
        {},
        {"subject": ()},
        {"subject": ((("commonName", "jane"),),)},
        {"subject": ((("organizationName", "front-proxy"),),)},
    ],
)
def test_without_the_proxys_certificate_nobody_is_believed(peer: dict[str, object] | None) -> None:
    with pytest.raises(ApiError) as caught:
        identity(PROXY, peer, headers(("X-Remote-User", "system:admin"), ("X-Remote-Group", "system:masters")))
    assert caught.value.code == 401


def test_any_name_is_allowed_where_none_is_given() -> None:
    proxy = front_proxy({"data": {**CONFIG, "requestheader-allowed-names": json.dumps([])}})
    peer = {"subject": ((("commonName", "jane"),),)}
    assert identity(proxy, peer, headers(("X-Remote-User", "jane"))).user == "jane"
    with pytest.raises(ApiError):
        identity(proxy, None, headers(("X-Remote-User", "jane")))


def test_a_proxy_that_names_nobody_is_refused() -> None:
    with pytest.raises(ApiError, match="named no user") as caught:
        identity(PROXY, PEER, headers(("X-Remote-Group", "system:masters")))
    assert caught.value.code == 401
