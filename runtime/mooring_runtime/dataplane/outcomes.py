"""How front ends hand requests over, and what a failure becomes in words."""

import logging
from collections.abc import Callable

from mooring_runtime.errors import Cancelled, InferenceFailed, QueueTimeout, RequestError
from mooring_runtime.messages import Fitted, InferRequest, InferResponse, ModelMetadata
from mooring_runtime.metrics import ModelStats

log = logging.getLogger(__name__)

Decode = Callable[[ModelMetadata], InferRequest | Fitted]
"""Makes the request for a model out of whatever the protocol brought; raises InvalidRequest."""
Reply = Callable[[InferResponse | RequestError], None]
"""Takes the answer. Called once; of a decoupled model again and again, until an error or a response that is `final`,
which is an empty one."""


def failure(model: str, error: Exception | None) -> RequestError:
    """What the client is told of a run that gave no result."""
    if error is None:
        return Cancelled("the client hung up before its request ran")
    if isinstance(error, RequestError):
        return error
    log.error("model '%s' raised what its backend should have translated", model, exc_info=error)
    return InferenceFailed(f"model '{model}' failed: {type(error).__name__}: {error}")


def count_failure(stats: ModelStats, told: RequestError) -> None:
    """Count a request that was admitted and got no result."""
    if isinstance(told, QueueTimeout):
        stats.rejected[told.cause] += 1
        stats.failures["REJECTED"] += 1
    else:
        stats.failures["CANCELED" if isinstance(told, Cancelled) else "BACKEND"] += 1


def tell(model: str, reply: Reply, outcome: InferResponse | RequestError) -> bool:
    """Tell the client of a step what became of it; false where its front end cannot write that. Then it is told at
    least whether the step was applied: without any answer its connection would stay open.
    """
    try:
        reply(outcome)
    except Exception as error:
        log.exception("cannot answer a step of model '%s'", model)
        told = InferenceFailed(f"an answer of model '{model}' cannot be written: {type(error).__name__}: {error}")
        told.applied = outcome.applied if isinstance(outcome, RequestError) else "yes"
        try:
            reply(told)
        except Exception:
            log.exception("cannot tell a client of model '%s' that its answer cannot be written", model)
        return False
    return True
