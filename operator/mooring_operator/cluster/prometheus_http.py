"""One query to Prometheus, blocking: prometheus-api-client on a session that bounds time and size.

PrometheusError      nothing can be said; `reason` goes into the status
  UnreachableError   no connection, or it broke
  RefusedError       an answer that is not 200: credentials, a limit, a query that this server does not know
  SlowError          no whole answer in time
  GarbageError       an answer that is not one of Prometheus, or that tells only a part
"""

import io
import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final

import requests
import urllib3
from prometheus_api_client import PrometheusConnect
from urllib3.util.retry import Retry

from ..api import names
from ..scaling.reading import Vector
from ..scaling.scraping import Scraping

LARGEST: Final = 64 * 2**20
"""Bytes of an answer that are read: a day of 1000 services takes less."""
_CHUNK: Final = 2**16
_SLOW: Final = frozenset({"timeout", "canceled"})
"""Prometheus' own words for a query that took too long."""
_HARMLESS: Final = "PromQL "
"""How those remarks begin that are on the query and not on missing data: Triton's counters lack `_total`, for one."""


class PrometheusError(Exception):
    """Prometheus says nothing that can be used; the message says why."""

    reason = "PrometheusUnreachable"


class UnreachableError(PrometheusError):
    """There is no connection, or it broke."""


class RefusedError(PrometheusError):
    """It answered with another status than 200."""

    reason = "PrometheusRefused"


class SlowError(PrometheusError):
    """It gave no whole answer in time."""

    reason = "PrometheusSlow"


class GarbageError(PrometheusError):
    """Its answer cannot be read, or tells only a part."""

    reason = "PrometheusGarbage"


@dataclass(frozen=True, slots=True)
class Access:
    """Where Prometheus is, and how it is asked.

    Attributes:
        url: without `/api/v1`, such as `http://prometheus.monitoring:9090`.
        scraping: how the series come to be.
        timeout: seconds for one look, all its queries together.
        token_file: with a bearer token, read again for each look, because it may rotate.
        ca_file: certificates that the server's must come from; None: the usual ones.
    """

    url: str
    scraping: Scraping = field(default_factory=Scraping)
    timeout: float = 10.0
    token_file: Path | None = None
    ca_file: Path | None = None


class Client:
    """Asks Prometheus; any number of threads may do so at once. Deadlines are of the monotonic clock."""

    def __init__(self, access: Access) -> None:
        self._url = access.url.rstrip("/")
        self._session = _Session(access)
        # Without retries: the next look comes in seconds, and the client's own would wait in our threads.
        self._connect = PrometheusConnect(url=self._url, session=self._session, retry=Retry(0))

    def close(self) -> None:
        """Close the connections."""
        self._session.close()

    def now(self, deadline: float) -> float:
        """Return the time by Prometheus' own clock, in unix seconds.

        Ours may be minutes away, and all samples would seem to be too old, or to be yet to come.

        Raises:
            PrometheusError: it has no answer.
        """
        match self._query("time()", {}, deadline):
            case [int() | float() as now, str()]:
                return float(now)
            case other:
                raise GarbageError(f"{self._url} answers the query time() with {str(other)[:100]}")

    def instant(self, query: str, now: float, deadline: float) -> Vector:
        """Return what a query answers at a moment in unix seconds.

        Raises:
            PrometheusError: it has no answer.
        """
        return self._vector(query, self._query(query, {"time": now}, deadline))

    def range(self, query: str, ends: tuple[int, int], step: int, deadline: float) -> Vector:
        """Return what a query answers from one moment to another, both included, in unix seconds.

        Raises:
            PrometheusError: it has no answer.
        """
        start, end = (datetime.fromtimestamp(each, UTC) for each in ends)

        def ask(params: dict[str, Any], left: float) -> Any:
            return self._connect.custom_query_range(query, start, end, str(step), params, left)

        return self._vector(query, self._asked(query, ask, {}, deadline))

    def _query(self, query: str, params: dict[str, Any], deadline: float) -> Any:
        def ask(params: dict[str, Any], left: float) -> Any:
            return self._connect.custom_query(query, params, left)

        return self._asked(query, ask, params, deadline)

    def _asked(
        self, query: str, ask: Callable[[dict[str, Any], float], Any], params: dict[str, Any], deadline: float
    ) -> Any:
        left = deadline - time.monotonic()
        if left <= 0.0:
            raise SlowError(f"{self._url} has not answered all queries in time")
        # Prometheus itself ends a query that takes too long, and Thanos says so when it lacks a part.
        bounds = {"timeout": f"{left:.3f}", "partial_response": "false"}
        try:
            return ask({**params, **bounds}, left)
        except PrometheusError as error:
            raise type(error)(f"{self._url} {error}: it was asked {query}") from None
        except requests.exceptions.ConnectTimeout as error:
            raise UnreachableError(f"{self._url} takes no connection within {left:.1f} s") from error
        except (requests.exceptions.Timeout, urllib3.exceptions.TimeoutError) as error:
            raise SlowError(f"{self._url} has not answered within {left:.1f} s: it was asked {query}") from error
        except (requests.exceptions.JSONDecodeError, LookupError, TypeError, RecursionError) as error:
            raise GarbageError(
                f"{self._url} does not answer as Prometheus does ({error!r:.200}): see that the URL is "
                "Prometheus' own, without /api/v1"
            ) from error
        except (requests.exceptions.RequestException, urllib3.exceptions.HTTPError, OSError) as error:
            raise UnreachableError(f"{self._url} cannot be reached: {error!s:.300}") from error

    def _vector(self, query: str, answer: Any) -> Vector:
        if isinstance(answer, list) and all(isinstance(series, dict) for series in answer):
            return answer
        raise GarbageError(f"{self._url} answers with {str(answer)[:100]}, not with series: it was asked {query}")


class _Session(requests.Session):
    """Reads whole answers, within a time for all of it: that of `requests` holds for each read alone, so that a server
    which sends a byte now and then would keep a thread for good.
    """

    def __init__(self, access: Access) -> None:
        super().__init__()
        # Neither a proxy of the environment nor somebody's ~/.netrc.
        self.trust_env = False
        self.verify = True if access.ca_file is None else str(access.ca_file)
        self.max_redirects = 3
        self._token_file = access.token_file

    def request(self, method: str, url: str, **arguments: Any) -> requests.Response:  # type: ignore[override]
        """Return an answer of status 200 that was read whole. `timeout` is for all of it."""
        deadline = time.monotonic() + arguments["timeout"]
        if self._token_file is not None:
            arguments["headers"] = {"Authorization": f"Bearer {_token(self._token_file)}"}
        # The client hands on `verify`, which it read before our file was known.
        with super().request(method, url, **{**arguments, "stream": True, "verify": self.verify}) as answer:
            body = _read(answer, deadline)
        if answer.status_code != HTTPStatus.OK:
            raise _refusal(answer, body)
        _check_whole(body)
        answer.raw = io.BytesIO(body)
        return answer


def _token(file: Path) -> str:
    try:
        return file.read_text().strip()
    except (OSError, ValueError) as error:
        raise RefusedError(f"is not asked, for the token in {file} cannot be read: {error}") from None


def _read(answer: requests.Response, deadline: float) -> bytes:
    body = bytearray()
    while chunk := answer.raw.read1(_CHUNK, decode_content=True):
        body += chunk
        if len(body) > LARGEST:
            raise GarbageError(
                f"gives an answer longer than {LARGEST} bytes, as it does where a page that it scrapes claims to be "
                "thousands of services: bound the samples of a page by sample_limit, as docs/autoscaling.md has it; "
                f"find it by topk(5, count by (instance) ({{{names.METRIC_LABEL_SERVICE}!=''}}))"
            )
        if time.monotonic() > deadline:
            raise SlowError("has not sent its whole answer in time")
    return bytes(body)


def _refusal(answer: requests.Response, body: bytes) -> PrometheusError:
    """What an answer with another status than 200 says: Prometheus gives `errorType` and `error` as JSON."""
    said = body[:_CHUNK].decode(errors="replace")
    try:
        told = json.loads(body)
        kind, text = str(told.get("errorType", "")), str(told.get("error", said))
    except (ValueError, AttributeError):
        kind, text = "", said
    message = f"answers {answer.status_code}: {text[:300]}"
    return SlowError(message) if kind in _SLOW else RefusedError(message)


def _check_whole(body: bytes) -> None:
    """Refuse an answer that lacks a part: sums over half of the pods would take half of them away."""
    if b'"warnings":' not in body[-_CHUNK:]:
        return
    try:
        warnings = json.loads(body).get("warnings", [])
    except (ValueError, AttributeError):
        return  # whoever reads the answer itself says so
    if missing := [str(each) for each in warnings if not str(each).startswith(_HARMLESS)]:
        raise GarbageError(f"warns that its answer lacks a part: {'; '.join(missing)[:300]}")
