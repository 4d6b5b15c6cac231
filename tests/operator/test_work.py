"""The queue and its workers, in virtual time."""

import asyncio
import itertools
import math
from collections.abc import Awaitable, Callable

import pytest

from mooring_operator.cluster.errors import ForbiddenError, OwnerGoneError, UnavailableError
from mooring_operator.facts import Key
from mooring_operator.work import FEW, GRACE, JITTER, LONGEST_BACKOFF, PATIENCE, Queue, Workers, backoff
from tests.support.clock import now, run

A, B, C = Key("models", "a"), Key("models", "b"), Key("models", "c")
RESYNC = 600.0
Look = tuple[float, Key]


class Trial:
    """A queue whose workers note when they look at what."""

    def __init__(self, *, count: int = 2, duration: float = 1.0, resync: float = RESYNC) -> None:
        self.queue = Queue()
        self.looks: list[Look] = []
        self.ends: list[Look] = []
        self.answer: Callable[[Key], Awaitable[float | None]] | None = None
        self.known: set[Key] = {A, B, C}
        self.duration = duration
        self.workers = Workers(self.queue, self.reconcile, self.known.__contains__, count, resync)

    async def reconcile(self, key: Key) -> float | None:
        self.looks.append((now(), key))
        await asyncio.sleep(self.duration)
        self.ends.append((now(), key))
        return await self.answer(key) if self.answer is not None else None

    async def work(self, seconds: float) -> list[Look]:
        """Let the workers work for so long; return the looks."""
        task = asyncio.create_task(self.workers.run())
        await asyncio.sleep(seconds)
        task.cancel()
        await asyncio.wait({task})
        return self.looks


def trial(scenario: Callable[[], Awaitable[None]]) -> None:
    async def whole() -> None:
        await scenario()

    run(whole())


def test_equal_keys_are_one() -> None:
    async def scenario() -> None:
        trial = Trial()
        for key in (A, B, A, A, B):
            trial.queue.add(key)
        assert await trial.work(10) == [(0, A), (0, B)]

    trial(scenario)


def test_so_many_at_once_and_no_more() -> None:
    async def scenario() -> None:
        trial = Trial(count=2)
        for key in (A, B, C):
            trial.queue.add(key)
        assert await trial.work(10) == [(0, A), (0, B), (1, C)]

    trial(scenario)


def test_a_key_is_looked_at_by_one_worker_at_a_time() -> None:
    async def scenario() -> None:
        trial = Trial(count=3)
        trial.queue.add(A)
        loop = asyncio.get_running_loop()
        for at in (0.2, 0.4, 0.6):
            loop.call_later(at, trial.queue.add, A)
        # What came meanwhile is looked at once, afterwards.
        assert await trial.work(10) == [(0, A), (1, A)]

    trial(scenario)


def test_a_later_look_comes_in_time() -> None:
    async def scenario() -> None:
        trial = Trial()
        trial.queue.add_after(A, 5)
        trial.queue.add_after(B, 3)
        assert await trial.work(10) == [(3, B), (5, A)]

    trial(scenario)


def test_the_earliest_of_several_later_looks_counts() -> None:
    async def scenario() -> None:
        trial = Trial()
        for seconds in (5, 2, 8):
            trial.queue.add_after(A, seconds)
        assert await trial.work(20) == [(2, A)]

    trial(scenario)


def test_a_look_stands_for_a_later_one() -> None:
    async def scenario() -> None:
        trial = Trial()
        trial.queue.add_after(A, 5)
        trial.queue.add(A)
        assert await trial.work(20) == [(0, A)]

    trial(scenario)


def test_news_goes_before_what_is_due() -> None:
    async def scenario() -> None:
        trial = Trial(count=1)
        trial.queue.add(A)
        trial.queue.add_after(B, 0.2)
        asyncio.get_running_loop().call_later(0.5, trial.queue.add, C)
        assert await trial.work(10) == [(0, A), (1, C), (2, B)]

    trial(scenario)


def test_what_is_due_becomes_news_when_something_arrives_for_it() -> None:
    async def scenario() -> None:
        trial = Trial(count=1)
        trial.queue.add(A)
        trial.queue.add_after(B, 0.2)
        trial.queue.add_after(C, 0.1)
        asyncio.get_running_loop().call_later(0.5, trial.queue.add, B)
        assert await trial.work(10) == [(0, A), (1, B), (2, C)]

    trial(scenario)


def test_endless_news_does_not_starve_what_is_due() -> None:
    async def scenario() -> None:
        trial = Trial(count=1)

        async def at_once(key: Key) -> None:
            if key != C:
                trial.queue.add(A if key == B else B)

        trial.answer = at_once
        trial.queue.add(A)
        trial.queue.add_after(C, 0.5)
        looks = await trial.work(20)
        assert [at for at, key in looks if key == C] == [math.ceil(0.5 + PATIENCE)]

    trial(scenario)


def test_few_looks_that_are_due_run_beside_news() -> None:
    async def scenario() -> None:
        trial = Trial(count=16)
        due = [Key("models", f"due-{number}") for number in range(FEW + 2)]
        for key in due:
            trial.queue.add_after(key, 0.5)
        trial.queue.add(A)
        looks = await trial.work(10)
        assert looks[0] == (0, A)
        assert [at for at, _ in looks[1:]] == [0.5] * FEW + [1.0, 1.0]

    trial(scenario)


def test_changes_in_a_row_are_gathered() -> None:
    async def scenario() -> None:
        trial = Trial(duration=0.0)
        loop = asyncio.get_running_loop()
        for number in range(5):
            loop.call_later(number * 0.03, trial.queue.add_after, A, 0.1)
        looks = await trial.work(1)
        assert [key for _, key in looks] == [A, A]
        assert looks[0][0] == pytest.approx(0.1)

    trial(scenario)


def test_a_round_says_when_the_next_one_is() -> None:
    async def scenario() -> None:
        trial = Trial()

        async def soon(key: Key) -> float:
            return 5.0

        trial.answer = soon
        trial.queue.add(A)
        assert await trial.work(14) == [(0, A), (6, A), (12, A)]

    trial(scenario)


def test_every_service_comes_again_after_the_resync_period() -> None:
    async def scenario() -> None:
        trial = Trial(count=1, duration=0.0)
        trial.queue.add(A)
        looks = await trial.work(10 * RESYNC)
        waits = [later - earlier for (earlier, _), (later, _) in itertools.pairwise(looks)]
        assert len(waits) >= 8
        assert all(RESYNC * (1 - JITTER) <= wait <= RESYNC * (1 + JITTER) for wait in waits)
        assert len(set(waits)) > 1  # services that started together do not stay together

    trial(scenario)


def test_a_service_that_is_gone_does_not_come_again() -> None:
    async def scenario() -> None:
        trial = Trial()
        trial.known.clear()
        trial.queue.add(A)
        assert await trial.work(10 * RESYNC) == [(0, A)]

    trial(scenario)


def test_a_failed_round_comes_again_later_and_later() -> None:
    async def scenario() -> None:
        trial = Trial(duration=0.0)

        async def fail(key: Key) -> float | None:
            raise ForbiddenError(403, "Forbidden", "no")

        trial.answer = fail
        trial.queue.add(A)
        looks = [at for at, _ in await trial.work(20)]
        waits = [later - earlier for earlier, later in itertools.pairwise(looks)]
        for number, wait in enumerate(waits):
            assert 0.25 * 2**number * (1 - JITTER) <= wait <= 0.25 * 2**number
        assert len(waits) >= 6

    trial(scenario)


def test_a_success_forgets_the_failures() -> None:
    async def scenario() -> None:
        trial = Trial(duration=0.0, resync=1000.0)
        outcomes = iter([True, True, True, False, True, False])

        async def sometimes(key: Key) -> float | None:
            if next(outcomes, False):
                raise ForbiddenError(403, "Forbidden", "no")
            return 10.0

        trial.answer = sometimes
        trial.queue.add(A)
        looks = [at for at, _ in await trial.work(13)]
        assert looks[3] - looks[2] >= 0.8  # the third wait in a row
        assert looks[5] - looks[4] <= 0.25  # the first one again

    trial(scenario)


def test_an_event_does_not_wait_for_the_back_off() -> None:
    async def scenario() -> None:
        trial = Trial(duration=0.0)

        async def fail(key: Key) -> float | None:
            raise RuntimeError("a defect")

        trial.answer = fail
        trial.queue.add(A)
        asyncio.get_running_loop().call_later(0.1, trial.queue.add, A)
        looks = await trial.work(0.15)
        assert looks == [(0, A), (0.1, A)]

    trial(scenario)


def test_others_go_on_when_one_fails() -> None:
    async def scenario() -> None:
        trial = Trial(count=1, duration=0.0)

        async def fail(key: Key) -> float | None:
            if key == A:
                raise RuntimeError("a defect")
            return None

        trial.answer = fail
        trial.queue.add(A)
        trial.queue.add(B)
        assert (await trial.work(0.1))[:2] == [(0, A), (0, B)]

    trial(scenario)


def test_the_end_of_a_service_is_no_failure() -> None:
    async def scenario() -> None:
        trial = Trial(duration=0.0)

        async def gone(key: Key) -> float | None:
            raise OwnerGoneError("gone")

        trial.answer = gone
        trial.queue.add(A)
        assert await trial.work(100) == [(0, A)]

    trial(scenario)


def test_a_stop_takes_nothing_new_and_lets_rounds_end() -> None:
    async def scenario() -> None:
        trial = Trial(count=1, duration=3.0)
        trial.queue.add(A)
        trial.queue.add(B)
        await trial.work(1)
        assert trial.looks == [(0, A)]
        assert trial.ends == [(3, A)]

    trial(scenario)


def test_a_stop_does_not_wait_for_ever() -> None:
    async def scenario() -> None:
        trial = Trial(count=1, duration=60.0)
        trial.queue.add(A)
        await trial.work(1)
        assert now() == 1 + GRACE
        assert trial.ends == []

    trial(scenario)


@pytest.mark.parametrize(
    ("failures", "wait"), [(1, 0.25), (2, 0.5), (5, 4.0), (11, 256.0), (12, LONGEST_BACKOFF), (10_000, LONGEST_BACKOFF)]
)
def test_back_off_grows_to_a_bound(failures: int, wait: float) -> None:
    assert backoff(failures, RuntimeError()) == wait


def test_an_outage_is_looked_at_again_soon() -> None:
    assert backoff(20, UnavailableError(0, "NoAnswer", "away")) == UnavailableError.backoff_limit


def test_the_server_may_ask_for_more_time() -> None:
    error = UnavailableError(429, "TooManyRequests", "busy")
    error.retry_after = 7.0
    assert backoff(1, error) == 7.0
    error.retry_after = 1e9
    assert backoff(1, error) == LONGEST_BACKOFF
