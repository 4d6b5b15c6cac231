"""From the data plane's outcome to a reply, whatever the protocol: errors by their class, and never no reply at all."""

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import Any

from mooring_runtime.dataplane import Reply as Outcome
from mooring_runtime.errors import InferenceFailed, InvalidRequest, RequestError
from mooring_runtime.frontends.http import tensors
from mooring_runtime.frontends.http.messages import Reply, Request, Respond, error_reply
from mooring_runtime.frontends.http.naming import Naming
from mooring_runtime.frontends.v2 import sessions
from mooring_runtime.messages import InferResponse, ModelMetadata

log = logging.getLogger(__name__)

Encode = Callable[[InferResponse], Reply]
"""Writes an answer; raises RequestError for one that the protocol cannot carry."""


def answering(respond: Respond, encode: Encode, naming: Naming) -> Outcome:
    """What the data plane calls with the outcome, for a protocol with one reply to a request."""

    def reply(outcome: InferResponse | RequestError) -> None:
        try:
            if isinstance(outcome, RequestError):
                found = naming.refuse(outcome)
            else:
                found = naming.tell(encode(outcome), outcome.session)
        except RequestError as error:
            found = naming.refuse(sessions.unwritten(error, outcome))
        except Exception as error:  # Else the client would wait for ever.
            log.exception("cannot write the answer of model '%s'", getattr(outcome, "model_name", "?"))
            failure = InferenceFailed(f"cannot write the answer: {type(error).__name__}: {error}")
            found = naming.refuse(sessions.unwritten(failure, outcome))
        respond(found)

    return reply


def require_single(metadata: ModelMetadata) -> None:
    """Raise InvalidRequest for a model that gives any number of answers, before it runs."""
    if metadata.decoupled:
        raise InvalidRequest(
            f"model '{metadata.name}' gives any number of answers to a request, which this call cannot carry; "
            "use generate_stream, or ModelStreamInfer over gRPC"
        )


def json_object(request: Request) -> dict[str, Any]:
    """The JSON object in a body; no body is an empty one. Raises InvalidRequest."""
    if not request.body.strip():
        return {}
    document = tensors.parse_json(request.body)
    if type(document) is not dict:
        raise InvalidRequest("the body must be a JSON object")
    return document


class Later:
    """Answers whose making takes a while: loading a model. They are made to the end even when their client hangs up."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()

    def answer(self, respond: Respond, making: Coroutine[Any, Any, Reply]) -> None:
        """Respond with what `making` gives."""
        task = asyncio.get_running_loop().create_task(self._run(respond, making))
        self._tasks.add(task)  # Else nobody holds the task, and it may be collected before its end.
        task.add_done_callback(self._tasks.discard)

    async def _run(self, respond: Respond, making: Coroutine[Any, Any, Reply]) -> None:
        try:
            try:
                reply = await making
            except RequestError as error:
                reply = error_reply(error)
        except Exception as error:  # Else the client would wait for ever; of a reply that cannot be written, too.
            log.exception("cannot do what was asked")
            reply = error_reply(InferenceFailed(f"a fault of the server: {type(error).__name__}: {error}"))
        respond(reply)
