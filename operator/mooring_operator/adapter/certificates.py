"""Where the serving certificate comes from: a Secret that all replicas share, or files that somebody else keeps."""

import base64
import binascii
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final, Protocol

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm

from ..api import names
from ..cluster.errors import ConflictError, KubeError, NotFoundError
from ..cluster.kinds import CLUSTER_ROLE, SECRET
from ..cluster.kube import Kube
from ..facts import Manifest
from . import generations
from .generations import Generation

logger = logging.getLogger(__name__)

_TRIES: Final = 5
ABSENT: Final = "1"
"""A resourceVersion that no object has: applying with it creates, or is refused."""


@dataclass(frozen=True)
class Served:
    """What the TLS layer shows, PEM."""

    certificate: str
    key: str
    expires: datetime


class Certificates(Protocol):
    """A source of serving certificates."""

    async def bundle(self, live: str) -> str:
        """Return what the API server must trust (PEM), where it trusts `live` now."""

    def served(self, trusted: str) -> Served:
        """Return what to serve, where the API server trusts `trusted`; called after `bundle`."""


class Owner:
    """The ClusterRole of the adapter: what the adapter makes goes when the release that installed it goes."""

    def __init__(self, kube: Kube) -> None:
        self._kube = kube

    async def references(self) -> list[Manifest]:
        """Return the owner references; none where the role has another name or cannot be read. Raises `KubeError`."""
        try:
            role = await self._kube.get(CLUSTER_ROLE, None, names.ADAPTER, metadata_only=True)
        except NotFoundError:
            return []
        reference = {"apiVersion": CLUSTER_ROLE.api_version, "kind": CLUSTER_ROLE.kind, "name": names.ADAPTER}
        return [{**reference, "uid": role["metadata"]["uid"]}]


class SharedSecret:
    """Certificates that the adapter makes itself. Each replica renews them; compare-and-swap lets one win.

    Their times are those of the API server's clock, which is the one that will judge them. So a replica whose own clock
    is wrong makes nothing that is refused, and two replicas never disagree about what is due.
    """

    def __init__(self, kube: Kube, place: tuple[str, str], lifetime: timedelta, owner: Owner) -> None:
        self._kube = kube
        self._namespace, self._name = place
        self._lifetime = lifetime
        self._owner = owner
        self._hosts = hosts(self._namespace)
        self._known: tuple[Generation, ...] = ()

    async def bundle(self, live: str) -> str:
        """Read the Secret, renew what is due, and return all that is valid. Raises `KubeError`."""
        for _ in range(_TRIES):
            version, found = await self._read()
            wanted = generations.renew(found, self._kube.now(), self._hosts, self._lifetime)
            if wanted != found:
                try:
                    await self._write(version, wanted)
                except ConflictError:
                    continue  # another replica has written it meanwhile: go by what it made
                logger.info("made a serving certificate, valid until %s", wanted[-1].expires.isoformat())
            self._known = wanted
            return generations.bundle(wanted)
        raise KubeError(409, "Conflict", f"Secret {self._namespace}/{self._name} changes all the time: who writes it?")

    def served(self, trusted: str) -> Served:
        """Return the generation whose turn it is."""
        chosen = generations.serving(self._known, trusted, self._kube.now())
        return Served(chosen.certificate, chosen.key, chosen.expires)

    async def _read(self) -> tuple[str, tuple[Generation, ...]]:
        try:
            secret = await self._kube.get(SECRET, self._namespace, self._name)
        except NotFoundError:
            return ABSENT, ()
        return secret["metadata"]["resourceVersion"], _generations(secret, self._hosts)

    async def _write(self, version: str, wanted: Sequence[Generation]) -> None:
        data = {}
        for each in wanted:
            data[f"{each.serial:x}.crt"] = _encoded(each.certificate)
            data[f"{each.serial:x}.key"] = _encoded(each.key)
        secret: Manifest = {
            "apiVersion": SECRET.api_version,
            "kind": SECRET.kind,
            "metadata": {
                "name": self._name,
                "namespace": self._namespace,
                "resourceVersion": version,
                "labels": {names.LABEL_NAME: names.ADAPTER, names.LABEL_PART_OF: names.PART_OF},
                "ownerReferences": await self._owner.references(),
            },
            "type": "Opaque",
            "data": data,
        }
        await self._kube.apply(SECRET, secret, names.ADAPTER_FIELD_MANAGER)


class Files:
    """Certificates that somebody else puts into a folder: tls.crt, tls.key and ca.crt, as cert-manager does."""

    def __init__(self, folder: Path, now: Callable[[], datetime]) -> None:
        self._folder = folder
        self._now = now

    async def bundle(self, live: str) -> str:
        """Return ca.crt, and of what is trusted now what has not expired.

        While an authority is replaced, the replicas see the new files at different times. Each of them adds its own,
        and takes nothing away that another may still serve. Raises `ValueError` and `OSError`.
        """
        authority = (self._folder / "ca.crt").read_text()
        wanted = _split(authority)
        if not wanted:
            raise ValueError(f"{self._folder / 'ca.crt'} holds no certificate")
        now = self._now()
        # In the order in which they stand: two replicas that each put their own last would write for ever.
        kept = [each for each in _split(live) if each in wanted or _lasts(each, now)]
        return "".join([*kept, *(each for each in wanted if each not in kept)])

    def served(self, trusted: str) -> Served:
        """Return the files as they are now. Raises `ValueError` and `OSError`."""
        certificate = (self._folder / "tls.crt").read_text()
        return Served(certificate, (self._folder / "tls.key").read_text(), _expires(certificate))


def hosts(namespace: str) -> tuple[str, ...]:
    """Return the names under which the API server looks for the adapter's Service."""
    return (f"{names.ADAPTER}.{namespace}.svc", f"{names.ADAPTER}.{namespace}")


def _generations(secret: Manifest, wanted: Sequence[str]) -> tuple[Generation, ...]:
    """Return what a Secret holds that we could serve, oldest first; what cannot be read is left out, and goes."""
    data = secret.get("data") or {}
    found = []
    for name in sorted(name for name in data if name.endswith(".crt"))[: generations.MOST]:
        try:
            key = data[f"{name.removesuffix('.crt')}.key"]
            found.append(generations.read(_decoded(data[name]), _decoded(key), wanted))
        except (ValueError, KeyError, TypeError, UnsupportedAlgorithm, binascii.Error) as error:
            logger.warning("key %s of Secret %s cannot be used: %s", name, secret["metadata"]["name"], error)
    return tuple(sorted(found, key=lambda each: (each.created, each.serial)))


def _split(bundle: str) -> list[str]:
    """Return the certificates of a bundle, one text each."""
    begin, end = "-----BEGIN CERTIFICATE-----", "-----END CERTIFICATE-----"
    parts = [part.partition(begin)[2] for part in bundle.split(end)]
    return [f"{begin}{part}{end}\n" for part in parts if part]


def _expires(certificate: str) -> datetime:
    return x509.load_pem_x509_certificate(certificate.encode()).not_valid_after_utc


def _lasts(certificate: str, now: datetime) -> bool:
    try:
        return _expires(certificate) > now
    except ValueError:
        return False  # somebody has written it there; it must not keep us from mending it


def _encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def _decoded(text: str) -> str:
    return base64.b64decode(text).decode()
