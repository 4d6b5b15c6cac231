"""TLS for every port that clients use: certificate, key and, where clients must show one too, whose they may be.

The files are read anew when they change, since whoever issues certificates renews them under a running server. A
connection that is open keeps what it began with.
"""

import logging
import ssl
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from mooring_runtime.errors import SettingsInvalid

log = logging.getLogger(__name__)


class TlsFiles(NamedTuple):
    """PEM files; with `client_ca` only clients are served whose certificate one of its authorities has signed."""

    certificate: Path
    key: Path
    client_ca: Path | None = None


class _Changing(ssl.SSLContext):
    """What a listening socket keeps; each connection begins with the context that is `current` then.

    One context whose certificates change would not do: it would resume sessions of clients whose authority was removed.
    A new one knows neither the tickets nor the sessions of the one before.
    """

    current: ssl.SSLContext

    def wrap_bio(self, *arguments: Any, **named: Any) -> ssl.SSLObject:
        """As for any context; it is what asyncio calls for each connection."""
        return self.current.wrap_bio(*arguments, **named)


class Tls:
    """One port's TLS. `context` is for the listening socket and stays the same when the files change.

    Raises SettingsInvalid when the files cannot be used.
    """

    def __init__(self, files: TlsFiles, protocols: Sequence[str]) -> None:
        """`protocols`: what is spoken above TLS, by its ALPN names."""
        self._files = files
        self._protocols = list(protocols)
        self._seen = self._stamps()
        self.context = _Changing(ssl.PROTOCOL_TLS_SERVER)
        try:
            self.context.current = self._load()
        except (OSError, ssl.SSLError) as error:
            raise SettingsInvalid(
                f"cannot use the TLS files {self._names()}: {error}; "
                "look at MOORING_TLS_CERT_FILE, MOORING_TLS_KEY_FILE and MOORING_TLS_CLIENT_CA_FILE"
            ) from error

    def refresh(self) -> None:
        """Take the files anew if they have changed; while they cannot be used, those before stay."""
        stamps = self._stamps()
        if stamps == self._seen:
            return
        self._seen = stamps
        try:
            self.context.current = self._load()
        except (OSError, ssl.SSLError) as error:
            log.error("the TLS files %s have changed and cannot be used, the old ones stay: %s", self._names(), error)
        else:
            log.info("TLS files read anew")

    def _load(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.load_cert_chain(self._files.certificate, self._files.key)
        context.set_alpn_protocols(self._protocols)
        if self._files.client_ca is not None:
            context.verify_mode = ssl.CERT_REQUIRED
            context.load_verify_locations(self._files.client_ca)
        return context

    def _stamps(self) -> list[tuple[int, int, int] | None]:
        """What tells that a file was changed or, as Kubernetes does it, exchanged behind a link."""
        stamps: list[tuple[int, int, int] | None] = []
        for file in self._files:
            try:
                found = None if file is None else file.stat()
            except OSError:
                found = None
            stamps.append(None if found is None else (found.st_mtime_ns, found.st_ino, found.st_size))
        return stamps

    def _names(self) -> str:
        return ", ".join(str(file) for file in self._files if file is not None)
