"""The whole way from an address to a file: ask, follow, resume, retry, check.

A failure that another attempt may cure (no connection, 5xx, 429, a body that breaks off) is tried again with growing
pauses, and the bytes so far are kept, also for the next container; one that it cannot cure ends at once.
"""

import errno
import logging
import random
import time
from base64 import b64encode
from collections.abc import Callable
from contextlib import closing
from email.utils import parsedate_to_datetime
from urllib.parse import SplitResult, urljoin, urlsplit

from mooring_runtime.errors import (
    AccessDenied,
    DigestMismatch,
    DownloadFailed,
    NoSpace,
    NotFound,
    RedirectRefused,
    SettingsInvalid,
    TooLarge,
)
from mooring_runtime.fetcher.store import Partial, Store
from mooring_runtime.fetcher.transport import AttemptError, Origin, Response, Transport
from mooring_runtime.settings import FetchSettings, file_name, redact

log = logging.getLogger(__name__)

MAX_REDIRECTS = 5
MAX_ATTEMPTS = 8
"""In a row without one new byte; each that brings some starts the count anew."""
_FIRST_PAUSE, _LAST_PAUSE = 0.5, 30.0
"""Seconds between attempts, doubled each time."""
_LONGEST_RETRY_AFTER = 120.0
"""Seconds that we wait at most because a server says so."""
_REPORT_EVERY = 5.0
_REDIRECTS = (301, 302, 303, 307, 308)
_PASSING = (408, 425, 429, 500, 502, 503, 504)
"""Codes of a server that may answer otherwise soon."""


class Fetcher:
    """Fetches one file. `transport`, `sleep` and `jitter` are seams for tests."""

    def __init__(
        self,
        settings: FetchSettings,
        transport: Transport | None = None,
        sleep: Callable[[float], None] = time.sleep,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._settings = settings
        self._transport = transport or Transport()
        self._sleep = sleep
        self._jitter = jitter
        self._uri = urlsplit(settings.model_uri)
        self._shown = redact(settings.model_uri)
        self._credentials = self._read_credentials()

    def fetch(self) -> None:
        """Fetch, unless the file is there already. Raises the FatalError that says what is wrong."""
        store = Store(self._settings.model_dir, file_name(self._settings.model_uri))
        with store.locked():
            if store.is_complete(self._settings.model_sha256):
                log.info("%s is here already", store.file)
                return
            try:
                size = self._fetch_into(store)
            except OSError as error:
                if error.errno in (errno.ENOSPC, errno.EDQUOT):
                    raise NoSpace(f"the volume of {store.directory} is full; give the pod more room") from error
                raise DownloadFailed(f"cannot write to {store.directory}: {error.strerror}") from error
            log.info("%s fetched: %d bytes", store.file, size)

    def _fetch_into(self, store: Store) -> int:
        expected = self._settings.model_sha256
        partial = store.partial()
        try:
            if partial.digest.hexdigest() != expected:  # Else: ended between the last byte and the move.
                self._fill(store, partial)
                self._check(partial)
            store.accept(partial, expected)
            return partial.size
        finally:
            partial.close()

    def _check(self, partial: Partial) -> None:
        found, expected = partial.digest.hexdigest(), self._settings.model_sha256
        if found != expected:
            partial.discard()
            raise DigestMismatch(
                f"{self._shown} has the SHA-256 digest {found}, but {expected} was asked for; "
                "correct the digest, or the address"
            )

    def _fill(self, store: Store, partial: Partial) -> None:
        """Attempt after attempt, until all bytes are there."""
        failures = 0
        while True:
            before = partial.size
            try:
                self._attempt(store, partial)
                return
            except AttemptError as error:
                failures = 1 if partial.size > before else failures + 1
                if failures >= MAX_ATTEMPTS:
                    raise DownloadFailed(
                        f"cannot fetch {self._shown}: {error} ({failures} attempts in a row without progress)"
                    ) from error
                pause = self._pause(failures, error.pause)
                log.warning("%s: %s; trying again in %.1f s from byte %d", self._shown, error, pause, partial.size)
                self._sleep(pause)

    def _pause(self, failures: int, asked: float | None) -> float:
        if asked is not None:
            return min(asked, _LONGEST_RETRY_AFTER)
        longest = min(_FIRST_PAUSE * 2.0 ** (failures - 1), _LAST_PAUSE)
        return longest * (0.5 + self._jitter() / 2)  # Many pods that start at once must not come back at once.

    def _attempt(self, store: Store, partial: Partial) -> None:
        headers = {"Accept-Encoding": "identity", "User-Agent": "mooring"}
        if partial.size and partial.validator:
            headers["Range"] = f"bytes={partial.size}-"
            headers["If-Range"] = partial.validator  # Else: the rest of a file that has changed meanwhile.
        with closing(self._follow(headers)) as response:
            if response.status == 416:
                partial.restart("")
                raise AttemptError("the server has no such part of the file any more", 0.0)
            if response.status == 206 and not _continues(response, partial.size):
                partial.restart("")
                raise AttemptError("the server sent another part of the file than was asked for", 0.0)
            if response.status == 200:
                partial.restart(_validator(response))
            self._check_size(store, partial, response.length())
            self._read(partial, response)

    def _read(self, partial: Partial, response: Response) -> None:
        limit = self._settings.max_model_bytes
        length = response.length()
        total = None if length is None else partial.size + length
        reported = time.monotonic()
        for piece in response.body():
            if limit is not None and partial.size + len(piece) > limit:
                partial.discard()
                raise TooLarge(f"{self._shown} has more than the {limit} bytes that MOORING_MAX_MODEL_BYTES allows")
            partial.write(piece)
            if time.monotonic() - reported > _REPORT_EVERY:
                reported = time.monotonic()
                log.info("%s: %d of %s bytes", self._shown, partial.size, "?" if total is None else total)

    def _check_size(self, store: Store, partial: Partial, length: int | None) -> None:
        """Before the first byte: may the file be that large, and is there room for it?"""
        if length is None:
            return
        limit = self._settings.max_model_bytes
        if limit is not None and partial.size + length > limit:
            total = partial.size + length
            raise TooLarge(
                f"{self._shown} has {total} bytes, more than the {limit} that MOORING_MAX_MODEL_BYTES allows"
            )
        free = store.free()
        if length > free:
            raise NoSpace(
                f"{self._shown} needs {length} more bytes, but the volume of {store.directory} has {free} free; "
                "give the pod more ephemeral storage"
            )

    def _follow(self, headers: dict[str, str]) -> Response:
        """The answer at the end of the redirects. Every hop is resolved and checked like the first."""
        uri = self._uri
        for _ in range(MAX_REDIRECTS + 1):
            credentials = self._credentials if Origin.of(uri) == Origin.of(self._uri) else {}
            response = self._transport.get(uri, {**headers, **credentials})
            if response.status not in _REDIRECTS:
                return self._judge(response)
            location = response.header("Location")
            response.close()
            uri = self._next(uri, location)
        raise RedirectRefused(f"{self._shown} leads through more than {MAX_REDIRECTS} redirects")

    def _next(self, uri: SplitResult, location: str | None) -> SplitResult:
        if not location:
            raise RedirectRefused(f"{self._shown}: a redirect without a Location")
        try:
            target = urlsplit(urljoin(uri.geturl(), location))
            origin = Origin.of(target)
        except ValueError:
            raise RedirectRefused(f"{self._shown}: a redirect to what is no address") from None
        if target.scheme != "https" or not origin.host:
            raise RedirectRefused(
                f"{self._shown} redirects to {target.scheme}://{origin.host}; only https:// is followed"
            )
        return target

    def _judge(self, response: Response) -> Response:
        """The answer, if it brings bytes or asks for a new beginning; else the error that says what it means."""
        status = response.status
        if status in (200, 206, 416):
            return response
        retry_after = response.header("Retry-After")
        response.close()
        if status in _PASSING:
            raise AttemptError(f"the server answers {status}", _seconds(retry_after))
        if status in (401, 403):
            with_what = "the credentials given" if self._credentials else "no credentials"
            raise AccessDenied(f"{self._shown}: the server answers {status} to a request with {with_what}")
        if status in (404, 410):
            raise NotFound(f"{self._shown}: the server has no such file ({status})")
        raise DownloadFailed(f"{self._shown}: the server answers {status}")

    def _read_credentials(self) -> dict[str, str]:
        """The Authorization header out of the mounted Secret. Raises SettingsInvalid when it has neither form."""
        directory = self._settings.credentials_dir
        if directory is None:
            return {}
        try:
            if (directory / "token").is_file():
                return {"Authorization": "Bearer " + (directory / "token").read_text().strip()}
            user, password = (directory / "username").read_text().strip(), (directory / "password").read_text().strip()
        except (OSError, UnicodeDecodeError) as error:
            raise SettingsInvalid(
                f"MOORING_CREDENTIALS_DIR is {directory}: it must hold a file token, or username and password ({error})"
            ) from error
        return {"Authorization": "Basic " + b64encode(f"{user}:{password}".encode()).decode()}


def _continues(response: Response, offset: int) -> bool:
    """Whether a 206 begins at the byte that was asked for."""
    return offset > 0 and (response.header("Content-Range") or "").startswith(f"bytes {offset}-")


def _validator(response: Response) -> str:
    """What If-Range may name: a strong ETag, else Last-Modified; with neither a broken download starts anew."""
    etag = response.header("ETag") or ""
    return etag if etag.startswith('"') else response.header("Last-Modified") or ""


def _seconds(retry_after: str | None) -> float | None:
    """`Retry-After` in seconds, as a number or as a date; None when there is none or it is neither."""
    if retry_after is None:
        return None
    if retry_after.isdigit():
        return float(retry_after)
    try:
        return max(0.0, parsedate_to_datetime(retry_after).timestamp() - time.time())
    except ValueError:
        return None
