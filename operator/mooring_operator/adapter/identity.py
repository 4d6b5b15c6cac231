"""Who asks: told by the front proxy of the API server, and by nobody else. Pure.

The API server passes a user's request on under its own client certificate and names the user in headers. Those headers
are worth what the certificate is: it must be signed by the authority for front proxies (`requestheader-client-ca-file`)
and carry an allowed name. The authority of ordinary clients (`client-ca-file`) is never looked at: every user of the
cluster has a certificate of that one, and could call himself `system:masters`.
Method: k8s.io/apiserver `authentication/request/headerrequest`.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import unquote

from multidict import CIMultiDictProxy

from ..facts import Manifest
from .wire import ApiError

CONFIG_NAMESPACE: Final = "kube-system"
CONFIG_NAME: Final = "extension-apiserver-authentication"
PeerCertificate = Mapping[str, Any]
"""As `ssl.SSLSocket.getpeercert` returns it: only ever of a certificate that was verified."""


@dataclass(frozen=True)
class FrontProxy:
    """What the API server says of its front proxy in ConfigMap kube-system/extension-apiserver-authentication."""

    authority: str
    """Certificates (PEM) of the authority that signs front proxies."""
    allowed_names: frozenset[str]
    """Common names that a front proxy may have; empty: any."""
    user_headers: tuple[str, ...]
    group_headers: tuple[str, ...] = ()
    uid_headers: tuple[str, ...] = ()
    extra_prefixes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Identity:
    """A user of the cluster, as SubjectAccessReview takes him. Hashable: decisions are kept by it."""

    user: str
    groups: tuple[str, ...] = ()
    uid: str = ""
    extra: tuple[tuple[str, tuple[str, ...]], ...] = ()


def front_proxy(config: Manifest) -> FrontProxy:
    """Return what the ConfigMap says. Raises `ValueError` when nobody could be trusted by it."""
    data = config.get("data") or {}
    where = f"ConfigMap {CONFIG_NAMESPACE}/{CONFIG_NAME}"
    authority = data.get("requestheader-client-ca-file") or ""
    if not authority.strip():
        raise ValueError(
            f"{where} has no requestheader-client-ca-file: start the API server with --requestheader-client-ca-file, "
            "else it cannot pass requests on to other API servers"
        )
    users = _names(data, "requestheader-username-headers", where)
    if not users:
        raise ValueError(
            f"{where} names no requestheader-username-headers: start the API server with "
            "--requestheader-username-headers=X-Remote-User"
        )
    return FrontProxy(
        authority=authority,
        allowed_names=frozenset(_names(data, "requestheader-allowed-names", where)),
        user_headers=users,
        group_headers=_names(data, "requestheader-group-headers", where),
        uid_headers=_names(data, "requestheader-uid-headers", where),
        extra_prefixes=_names(data, "requestheader-extra-headers-prefix", where),
    )


def identity(proxy: FrontProxy, peer: PeerCertificate | None, headers: CIMultiDictProxy[str]) -> Identity:
    """Return who asks. Raises `ApiError` 401 unless a front proxy vouches for him.

    `peer` is the client's certificate as the TLS layer verified it against `proxy.authority`; None without one.
    """
    if not peer:
        raise ApiError(401, "only the API server may ask here: no client certificate of its front proxy was shown")
    if proxy.allowed_names and not proxy.allowed_names & _common_names(peer):
        raise ApiError(401, "only the API server may ask here: the client certificate is not of an allowed front proxy")
    user = _first(proxy.user_headers, headers)
    if not user:
        raise ApiError(401, f"the front proxy named no user: none of {', '.join(proxy.user_headers)} is set")
    return Identity(
        user=user,
        groups=tuple(value for name in proxy.group_headers for value in headers.getall(name, [])),
        uid=_first(proxy.uid_headers, headers),
        extra=_extra(proxy.extra_prefixes, headers),
    )


def _names(data: Mapping[str, str], key: str, where: str) -> tuple[str, ...]:
    try:
        found = json.loads(data.get(key) or "[]")
    except ValueError as error:
        raise ValueError(f"{where}: {key} is no JSON: {error}") from error
    if not isinstance(found, list) or not all(isinstance(name, str) for name in found):
        raise ValueError(f"{where}: {key} is {data[key]!r}, not a list of names")
    return tuple(found)


def _common_names(peer: PeerCertificate) -> set[str]:
    return {value for part in peer.get("subject", ()) for field, value in part if field == "commonName"}


def _first(names: tuple[str, ...], headers: CIMultiDictProxy[str]) -> str:
    return next((value for name in names if (value := headers.get(name, "").strip())), "")


def _extra(prefixes: tuple[str, ...], headers: CIMultiDictProxy[str]) -> tuple[tuple[str, tuple[str, ...]], ...]:
    found: dict[str, list[str]] = {}
    for name, value in headers.items():
        for prefix in prefixes:
            if name.lower().startswith(prefix.lower()):
                found.setdefault(unquote(name[len(prefix) :].lower()), []).append(value)
                break
    return tuple((key, tuple(values)) for key, values in sorted(found.items()))
