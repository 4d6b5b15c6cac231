import asyncio
import threading
from collections.abc import Callable

import pytest

from mooring_runtime.scheduling import Executor, Outcome, Ticket
from tests.support.serving import Apart, Inline


def double(number: int) -> int:
    if number < 0:
        raise ValueError("negative")
    return 2 * number


class Gate:
    """Work that waits until it is let through, and says when it has begun."""

    def __init__(self) -> None:
        self.begun = threading.Event()
        self.open = threading.Event()
        self.threads: list[str] = []

    def run(self, number: int) -> int:
        self.threads.append(threading.current_thread().name)
        self.begun.set()
        assert self.open.wait(1)
        return double(number)


async def outcome_of(submit: Callable[[Callable[[Outcome[int]], None]], Ticket | None]) -> Outcome[int]:
    future: asyncio.Future[Outcome[int]] = asyncio.get_running_loop().create_future()
    submit(future.set_result)
    return await future


async def begun(gate: Gate) -> None:
    assert await asyncio.to_thread(gate.begun.wait, 1)


def test_a_short_run_has_ended_when_submit_returns() -> None:
    executor = Executor(double, times=Inline())
    outcomes: list[Outcome[int]] = []
    assert executor.submit(4, 1, outcomes.append) is None
    assert outcomes[0].result == 8
    assert outcomes[0].waited == 0.0
    assert executor.load == (0, 0)


def test_an_error_of_a_short_run_is_the_outcome() -> None:
    outcomes: list[Outcome[int]] = []
    Executor(double, times=Inline()).submit(-1, 1, outcomes.append)
    assert outcomes[0].result is None
    assert isinstance(outcomes[0].error, ValueError)


async def test_a_long_run_is_on_the_thread_and_its_outcome_on_the_loop() -> None:
    gate = Gate()
    gate.open.set()
    executor = Executor(gate.run, times=Apart())
    found: list[str] = []
    future: asyncio.Future[Outcome[int]] = asyncio.get_running_loop().create_future()

    def done(outcome: Outcome[int]) -> None:
        found.append(threading.current_thread().name)
        future.set_result(outcome)

    executor.submit(4, 1, done)
    assert (await future).result == 8
    assert gate.threads == ["model"]
    assert found == [threading.main_thread().name]
    executor.close()


async def test_an_error_of_a_long_run_is_the_outcome_and_the_thread_goes_on() -> None:
    executor = Executor(double, times=Apart())
    failed = await outcome_of(lambda done: executor.submit(-1, 1, done))
    assert isinstance(failed.error, ValueError)
    assert (await outcome_of(lambda done: executor.submit(1, 1, done))).result == 2
    executor.close()


async def test_work_runs_in_the_order_in_which_it_came() -> None:
    gate = Gate()
    executor = Executor(gate.run, times=Apart())
    order: list[int] = []
    last: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    for number in range(5):
        executor.submit(number, 1, lambda outcome: order.append(outcome.result or 0))
    executor.submit(5, 1, lambda _: last.set_result(None))
    gate.open.set()
    await last
    assert order == [0, 2, 4, 6, 8]
    executor.close()


async def test_waiting_and_running_are_told_apart() -> None:
    gate = Gate()
    executor = Executor(gate.run, times=Apart())
    done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    executor.submit(1, 1, lambda _: None)
    executor.submit(2, 1, lambda _: done.set_result(None))
    await begun(gate)
    assert executor.load == (1, 1)
    gate.open.set()
    await done
    assert executor.load == (0, 0)
    executor.close()


async def test_waiting_work_is_taken_back_and_never_runs() -> None:
    gate = Gate()
    executor = Executor(gate.run, times=Apart())
    outcomes: list[Outcome[int]] = []
    executor.submit(1, 1, lambda _: None)
    await begun(gate)
    ticket = executor.submit(2, 1, outcomes.append)
    assert ticket is not None
    ticket.cancel()
    ticket.cancel()
    assert [(outcome.result, outcome.error) for outcome in outcomes] == [(None, None)]
    assert executor.load == (0, 1)
    gate.open.set()
    assert (await outcome_of(lambda done: executor.submit(3, 1, done))).result == 6
    assert len(gate.threads) == 2
    executor.close()


async def test_running_work_cannot_be_taken_back() -> None:
    gate = Gate()
    executor = Executor(gate.run, times=Apart())
    future: asyncio.Future[Outcome[int]] = asyncio.get_running_loop().create_future()
    ticket = executor.submit(1, 1, future.set_result)
    await begun(gate)
    assert ticket is not None
    ticket.cancel()
    gate.open.set()
    assert (await future).result == 2
    executor.close()


async def test_a_short_run_does_not_overtake_what_waits() -> None:
    gate = Gate()
    times = Apart()
    executor = Executor(gate.run, times=times)
    order: list[int] = []
    executor.submit(1, 1, lambda _: order.append(1))
    times.inline = lambda size: True  # type: ignore[method-assign]
    second = asyncio.create_task(outcome_of(lambda done: executor.submit(2, 1, done)))
    await begun(gate)
    assert executor.load == (1, 1)
    gate.open.set()
    await second
    assert order == [1]
    executor.close()


async def test_a_closed_executor_ends_its_thread() -> None:
    executor = Executor(double, times=Apart())
    await outcome_of(lambda done: executor.submit(1, 1, done))
    [thread] = [each for each in threading.enumerate() if each.name == "model"]
    executor.close()
    thread.join(1)
    assert not thread.is_alive()


@pytest.mark.parametrize("number", [3, -3])
def test_the_clock_times_the_run(number: int) -> None:
    ticks = iter([1.0, 1.5])
    outcomes: list[Outcome[int]] = []
    Executor(double, times=Inline(), clock=lambda: next(ticks)).submit(number, 1, outcomes.append)
    assert outcomes[0].ran == 0.5
