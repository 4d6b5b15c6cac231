"""The HTTP side of external.metrics.k8s.io/v1beta1: who asks, whether he may, and the answer or the error."""

import logging
import ssl
import time
from collections.abc import Callable
from typing import Final

from aiohttp import web
from aiohttp.typedefs import Handler

from ..api import names
from . import access, metrics, wire
from .access import Permissions
from .board import Refresher
from .identity import FrontProxy, Identity, identity
from .replies import Question, reply
from .services import Services
from .wire import ApiError, Document

logger = logging.getLogger(__name__)

GROUP: Final = f"/apis/{names.EXTERNAL_METRICS_GROUP}"
VERSION: Final = f"{GROUP}/{names.EXTERNAL_METRICS_VERSION}"
_WHO: Final = web.RequestKey("who", Identity)


class Api:
    """What the requests are answered from."""

    def __init__(self, services: Services, refresher: Refresher, permissions: Permissions) -> None:
        self.proxy: FrontProxy | None = None
        """Whose word is taken for who asks; None: nobody's yet."""
        self.believes: Callable[[ssl.SSLContext], bool] = lambda _: False
        """Whether the certificates that a TLS context has let in are still good; the listener tells."""
        self._services = services
        self._refresher = refresher
        self._permissions = permissions

    def app(self) -> web.Application:
        """Return the application."""
        app = web.Application(middlewares=[self._answer], client_max_size=1024)
        app.router.add_get(GROUP, self._group)
        app.router.add_get(VERSION, self._resources)
        app.router.add_get(f"{VERSION}/namespaces/{{namespace}}/{{metric}}", self._values)
        return app

    @web.middleware
    async def _answer(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Ask who it is before anything else, and turn every failure into a Status."""
        try:
            request[_WHO] = self._who(request)
            wire.check_accept(request.headers.get("Accept", ""))
            response = await handler(request)
        except ApiError as error:
            response = _document(wire.status(error), error.code)
        except web.HTTPException as error:
            told = ApiError(error.status, f"{request.method} {request.path}: {error.reason}")
            response = _document(wire.status(told), error.status)
        except Exception:
            logger.exception("cannot answer %s %s", request.method, request.path)
            told = ApiError(500, "the adapter could not answer; its log says why")
            response = _document(wire.status(told), 500)
        metrics.REQUESTS.labels(response.status).inc()
        return response

    def _who(self, request: web.Request) -> Identity:
        if self.proxy is None:
            raise ApiError(503, "the adapter does not know yet whom the API server's front proxy is signed by")
        tls = request.get_extra_info("ssl_object")
        trusted = tls is not None and self.believes(tls.context)
        return identity(self.proxy, request.get_extra_info("peercert") if trusted else None, request.headers)

    async def _group(self, _: web.Request) -> web.Response:
        return _document(wire.api_group())

    async def _resources(self, _: web.Request) -> web.Response:
        return _document(wire.api_resources(names.EXTERNAL_METRICS))

    async def _values(self, request: web.Request) -> web.Response:
        namespace, metric = request.match_info["namespace"], request.match_info["metric"]
        await self._permissions.check(access.Question(request[_WHO], namespace, metric))
        if request.query.get("watch", "false") not in {"", "0", "false"}:
            raise ApiError(405, "external metrics cannot be watched")
        if request.query.get("fieldSelector"):
            raise ApiError(400, "external metrics have no fields to select by: use labelSelector")
        if not self._services.ready:
            raise ApiError(503, "the adapter has not listed the services yet")
        question = Question(namespace, metric, request.query.get("labelSelector", ""))
        return _document(reply(question, self._services, self._refresher.board, time.monotonic()))


def _document(document: Document, code: int = 200) -> web.Response:
    return web.json_response(document, status=code)
