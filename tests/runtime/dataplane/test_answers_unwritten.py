"""A front end that raises while it is told: its request ends and is counted once, and the others are answered."""

import asyncio
import threading
from collections.abc import Callable

import numpy as np
import pytest

from mooring_runtime.errors import InferenceFailed, QueueTimeout, RequestError
from mooring_runtime.messages import InferRequest, InferResponse, Tensor
from tests.support.serving import Apart, Served

REQUEST = InferRequest((Tensor("in_FP32", "FP32", np.zeros((1, 2), np.float32)),))
Answer = InferResponse | RequestError


class Client:
    """Asks the model for one answer; `fails` says which outcomes it cannot take."""

    def __init__(self, served: Served, fails: Callable[[Answer], bool], request: InferRequest = REQUEST) -> None:
        self.told: list[Answer] = []
        self.tries = 0
        self.heard = asyncio.Event()
        self._fails = fails
        self.ticket = served.plane.infer("echo", None, lambda _: request, self._reply)

    def _reply(self, outcome: Answer) -> None:
        self.tries += 1
        if self._fails(outcome):
            raise ValueError("not to be written")
        self.told.append(outcome)
        self.heard.set()


def never(_: Answer) -> bool:
    return False


def is_response(outcome: Answer) -> bool:
    return isinstance(outcome, InferResponse)


def waited(gate: threading.Event) -> None:
    assert gate.wait(1)


async def heard(client: Client) -> None:
    """Wait until the client has been told: those that asked before it have been, too."""
    await asyncio.wait_for(client.heard.wait(), 1)


@pytest.fixture(params=["loop", "thread"])
def served(request: pytest.FixtureRequest) -> Served:
    made = Served(times=Apart()) if request.param == "thread" else Served()
    made.model.batcher.loop = None
    return made


async def test_an_answer_that_cannot_be_written_is_told_as_a_failure(served: Served) -> None:
    clients = [Client(served, fails) for fails in (never, is_response, never)]
    assert served.plane.pending == 3
    await heard(clients[-1])
    assert [[type(each) for each in client.told] for client in clients] == [
        [InferResponse],
        [InferenceFailed],
        [InferResponse],
    ]
    assert "an answer of model 'echo' cannot be written: ValueError: not to be written" in str(clients[1].told[0])
    stats = served.stats
    assert (stats.successes, stats.failures["OTHER"], sum(stats.failures.values())) == (2, 1, 1)
    assert clients[1].ticket is not None
    clients[1].ticket.cancel()
    assert served.plane.pending == 0, "it drops once"
    served.model.close()


async def test_a_client_that_can_be_told_nothing_is_given_up(served: Served) -> None:
    clients = [Client(served, fails) for fails in (lambda _: True, never)]
    await heard(clients[-1])
    assert ([client.tries for client in clients], len(clients[1].told)) == ([3, 1], 1)
    assert served.plane.pending == 0
    served.model.close()


async def test_a_failure_whose_text_cannot_be_written_is_told_in_other_words(served: Served) -> None:
    def fail() -> None:
        raise InferenceFailed("the model failed: unspeakable")

    served.backend.hook = fail
    clients = [Client(served, lambda outcome: "unspeakable" in str(outcome)), Client(served, never)]
    await heard(clients[-1])
    assert [str(client.told[0]) for client in clients] == [
        "the request has failed and the reason cannot be written; the server's log has it",
        "the model failed: unspeakable",
    ]
    assert (served.stats.failures["BACKEND"], served.plane.pending) == (2, 0)
    served.model.close()


async def test_who_hears_too_late_and_raises_does_not_hold_up_the_others() -> None:
    served = Served(times=Apart())
    gate = threading.Event()
    served.backend.hook = lambda: waited(gate)
    first = Client(served, never)
    await asyncio.sleep(0)
    late = Client(served, lambda outcome: isinstance(outcome, QueueTimeout), REQUEST._replace(timeout=1e-6))
    last = Client(served, never)
    gate.set()
    await heard(last)
    assert [type(client.told[0]) for client in (first, late, last)] == [InferResponse, InferenceFailed, InferResponse]
    assert (served.stats.rejected["timeout"], served.plane.pending) == (1, 0)
    served.model.close()
