"""The installation's key, from which the peer tokens of stateful services are derived.

It stands in a Secret of the operator's namespace that is mounted into its pods. Whoever leads first makes the Secret
and knows the key from then on; the others find it in the mounted file, which kubelet fills within a minute or two. So
no template rolls dice, the right to read Secrets is not needed, and the key outlives an uninstalled chart, as the
services and their tokens do.
"""

import asyncio
import base64
import logging
import secrets
from pathlib import Path
from typing import Final

from ..api import names
from . import kinds
from .errors import ConflictError, KubeError
from .kube import Kube

logger = logging.getLogger(__name__)

AGAIN: Final = 2.0
"""Seconds between two looks for it."""


class PeerKey:
    """Finds the key, and makes it when there is none."""

    def __init__(self, kube: Kube, namespace: str, secret: str, file: Path) -> None:
        self._kube = kube
        self._namespace = namespace
        self._secret = secret
        self._file = file

    async def find(self) -> bytes:
        """Return the key as soon as it is known."""
        told = False
        while True:
            if key := self._read():
                return key
            try:
                if key := await self._make():
                    return key
            except KubeError as error:
                logger.warning("cannot make the key of the peer tokens: %s", error)
            if not told:
                told = True
                logger.info(
                    "Secret %s/%s stands, and %s is still empty: stateful services wait for it",
                    *(self._namespace, self._secret, self._file),
                )
            await asyncio.sleep(AGAIN)

    def _read(self) -> bytes:
        try:
            return self._file.read_bytes().strip()
        except FileNotFoundError:
            return b""
        except OSError as error:
            logger.warning("cannot read the key of the peer tokens: %s", error)
            return b""

    async def _make(self) -> bytes:
        """Return a new key that nobody else has made; empty when the Secret stands already."""
        key = secrets.token_hex(32).encode()
        manifest = {
            "apiVersion": kinds.SECRET.api_version,
            "kind": kinds.SECRET.kind,
            "metadata": {
                "name": self._secret,
                "namespace": self._namespace,
                "labels": {names.LABEL_MANAGED_BY: names.MANAGED_BY},
            },
            "type": "Opaque",
            "immutable": True,
            "data": {names.PEER_KEY_KEY: base64.b64encode(key).decode()},
        }
        try:
            await self._kube.create(kinds.SECRET, manifest)
        except ConflictError:
            return b""
        logger.info("made the key of the peer tokens: Secret %s/%s", self._namespace, self._secret)
        return key
