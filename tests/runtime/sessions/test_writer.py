"""The thread that writes: which jobs share a commit, what is told of them, and what a group leaves out."""

import asyncio
import threading
import time
from collections.abc import Sequence
from itertools import pairwise

import pytest

from mooring_runtime.sessions.copies import Copy
from mooring_runtime.sessions.keys import Key
from mooring_runtime.sessions.store import Change, Done, StoreFailed
from mooring_runtime.sessions.writer import GROUP_BYTES, Dead, Job, Outcome, Writer, merged
from tests.support.stores import change, key


class Disk:
    """Remembers groups; each waits for `gate` before it is on disk."""

    def __init__(self) -> None:
        self.groups: list[list[Job]] = []
        self.gate = threading.Semaphore(0)
        self.begun = threading.Semaphore(0)

    def write(self, jobs: Sequence[Job]) -> Outcome:
        self.groups.append(list(jobs))
        self.begun.release()
        self.gate.acquire()
        return [StoreFailed("told to") if not job.changes else None for job in jobs]


async def _close(writer: Writer, disk: Disk) -> None:
    for _ in range(10):
        disk.gate.release()
    await asyncio.to_thread(writer.wait_for, Job(closing=True, changes=(change(1),)))
    writer.join()


async def test_all_that_comes_during_a_commit_shares_the_next() -> None:
    disk = Disk()
    writer = Writer(disk.write, asyncio.get_running_loop(), 1.0)
    told: list[tuple[int, StoreFailed | None]] = []
    writer.submit(Job((change(1, 0),), done=lambda failed: told.append((0, failed))))
    await asyncio.to_thread(disk.begun.acquire)

    def tell(number: int) -> Done:
        return lambda failed: told.append((number, failed))

    for number in range(1, 20):
        writer.submit(Job((change(1, number),), done=tell(number)))
    disk.gate.release()
    await asyncio.to_thread(disk.begun.acquire)
    assert told == [(0, None)]
    await _close(writer, disk)
    assert [len(group) for group in disk.groups[:2]] == [1, 19]
    assert told == [(number, None) for number in range(20)]


async def test_a_large_group_is_told_of_in_turns_of_the_loop_and_in_order() -> None:
    """Each answer takes its time to be written, and others wait for the loop too."""
    disk = Disk()
    loop = asyncio.get_running_loop()
    writer = Writer(disk.write, loop, 1.0)
    told: list[int] = []
    turns: list[int] = []

    def tell(number: int) -> Done:
        def done(_: StoreFailed | None) -> None:
            until = time.perf_counter() + 0.001
            while time.perf_counter() < until:
                pass
            told.append(number)

        return done

    for number in range(60):
        writer.submit(Job((change(1, number),), done=tell(number)))
    for _ in range(3):
        disk.gate.release()
    while len(told) < 60:
        await asyncio.sleep(0)
        if told and (not turns or turns[-1] != len(told)):
            turns.append(len(told))
    assert told == list(range(60))
    assert max(after - before for before, after in pairwise([0, *turns])) <= 10
    await _close(writer, disk)


async def test_a_group_is_bounded_by_bytes() -> None:
    disk = Disk()
    writer = Writer(disk.write, asyncio.get_running_loop(), 1.0)
    writer.submit(Job((change(1),)))
    await asyncio.to_thread(disk.begun.acquire)
    large = change(1)
    assert large.copy is not None
    large = large._replace(copy=large.copy._replace(size=GROUP_BYTES // 2))
    for _ in range(6):
        writer.submit(Job((large,)))
    await _close(writer, disk)
    assert [len(group) for group in disk.groups] == [1, 3, 3, 1]


async def test_one_done_that_raises_does_not_keep_the_others_from_being_told(caplog: pytest.LogCaptureFixture) -> None:
    disk = Disk()
    writer = Writer(disk.write, asyncio.get_running_loop(), 1.0)
    told: list[StoreFailed | None] = []

    def raises(failed: StoreFailed | None) -> None:
        raise RuntimeError("a mistake")

    writer.submit(Job((change(1),)))
    await asyncio.to_thread(disk.begun.acquire)
    writer.submit(Job((change(1),), done=raises))
    writer.submit(Job(done=told.append))
    await _close(writer, disk)
    await asyncio.sleep(0)
    assert [str(failed) for failed in told] == ["told to"]
    assert "a mistake" in caplog.text


async def test_nobody_is_told_by_a_process_that_ends() -> None:
    def dies(jobs: Sequence[Job]) -> Outcome:
        raise Dead

    writer = Writer(dies, asyncio.get_running_loop(), 1.0)
    told: list[StoreFailed | None] = []
    writer.submit(Job((change(1),), done=told.append))
    writer.join()
    await asyncio.sleep(0)
    assert told == []
    assert await asyncio.to_thread(writer.wait_for, Job()) is not None


def _says(changes: Sequence[Change]) -> tuple[Key, Copy | None, object, object]:
    """The only change that is left, in a form that can be compared."""
    (one,) = merged(changes)
    made = None if one.state is None else [tensor.array.tolist() for tensor in one.state]
    return one.key, one.copy, made, None if one.replies is None else [each.step for each in one.replies]


def test_of_several_changes_of_a_session_the_last_says_all_that_an_earlier_one_did() -> None:
    touched = change(9).copy
    gone = Change(key(), None)
    assert _says([change(1), change(2), change(5)]) == (key(), change(5).copy, [[[5.0] * 4]], [2, 3, 4, 5])
    assert _says([change(2), Change(key(), touched)]) == (key(), touched, [[[2.0] * 4]], [1, 2])
    assert _says([change(2), Change(key(), touched, ())]) == (key(), touched, [], [1, 2])
    assert _says([change(2), gone]) == (key(), None, None, None)
    assert _says([gone, change(1)]) == (key(), change(1).copy, [[[1.0] * 4]], [1])
    # A session that was deleted and made anew has nothing of before.
    assert _says([change(2), gone, Change(key(), touched)]) == (key(), touched, [], [])


def test_changes_of_different_sessions_are_left_alone() -> None:
    changes = [change(1, number) for number in range(5)]
    assert [one.key for one in merged(changes)] == [key(number) for number in range(5)]


async def test_a_thread_that_ends_by_a_mistake_says_so() -> None:
    died = threading.Event()

    def mistake(jobs: Sequence[Job]) -> Outcome:
        raise MemoryError

    writer = Writer(mistake, asyncio.get_running_loop(), 1.0, lambda _: died.set())
    writer.submit(Job((change(1),)))
    assert await asyncio.to_thread(died.wait, 1)
