"""The store and the process that has it: killed at any time, raced by another one, on a disk that fails."""

import asyncio
import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import pytest

from mooring_runtime.sessions.lmdb_store import LmdbStore, StoreOptions
from tests.support import failing_disk
from tests.support.store_process import WRITERS, payload
from tests.support.stores import Commits, change, key, noise, opened, shown

pytestmark = pytest.mark.timeout(120)

_ROOT = Path(__file__).parents[3]


class Process:
    """One of `tests.support.store_process`."""

    def __init__(self, path: Path, *arguments: str, **environment: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.support.store_process", str(path), *arguments],
            cwd=_ROOT,
            env={**os.environ, **environment},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    @property
    def lines(self) -> IO[str]:
        """What it says."""
        assert self.process.stdout is not None
        return self.process.stdout

    def say(self, text: str) -> None:
        """Let it commit."""
        assert self.process.stdin is not None
        self.process.stdin.write(text + "\n")
        self.process.stdin.flush()

    def errors(self) -> str:
        """What it said at its end."""
        assert self.process.stderr is not None
        return self.process.stderr.read()

    def kill(self) -> None:
        """As the kernel does it, or a node that goes away."""
        self.process.kill()
        self.process.wait()


@contextmanager
def started(path: Path, *arguments: str, **environment: str) -> Iterator[Process]:
    running = Process(path, *arguments, **environment)
    try:
        yield running
    finally:
        running.kill()
        for stream in (running.process.stdin, running.process.stdout, running.process.stderr):
            if stream is not None:
                stream.close()


def _whole(store: LmdbStore, seed: int, session: int) -> int:
    """The step at which a session is, once it is sure that all of it is of that step."""
    kept = store.read(key(session))
    step = kept.copy.step
    (tensor,) = kept.state
    assert tensor.array.tobytes() == payload(seed, session, step)[0].array.tobytes()
    assert [each.step for each in kept.replies] == list(range(max(1, step - 3), step + 1))
    assert all(each.outputs[0].array.item() == each.step for each in kept.replies)
    return step


def _killed(path: Path, seed: int, seconds: float, *journal: str) -> dict[int, int]:
    """The last step of each session that a process told of before it was killed."""
    with started(path, "write", str(seed), *journal) as running:
        assert running.lines.readline() == "boot 1 clean True\n"
        first = running.lines.readline()
        # Into the middle of whatever it does then.
        time.sleep(seconds)
        running.kill()
        told = [line.split() for line in [first, *running.lines] if line.endswith("\n")]
    return {int(session): int(step) for session, step in told}


@pytest.mark.parametrize("journal", [(), ("20000",)], ids=["where they belong", "by the journal"])
async def test_every_acknowledged_step_outlives_kill_9(tmp_path: Path, long: bool, journal: tuple[str, ...]) -> None:
    chance, most = random.Random(5), 0
    for seed in range(60 if long else 6):
        path = tmp_path / str(seed)
        acknowledged = _killed(path, seed, chance.random() * 0.3, *journal)
        with opened(path) as store:
            assert (store.boot, store.clean) == (2, False)
            steps = {int(found.session.removeprefix("session-")): copy.step for found, copy in store.copies()}
            assert store.quarantined() == {}
            for session, step in steps.items():
                assert _whole(store, seed, session) == step
            # One more may be on disk than was told; never one fewer.
            for session, step in acknowledged.items():
                assert step <= steps[session] <= step + 1
        # On a machine that is busy a kill may come before each writer was told of a step.
        most = max(most, len(acknowledged))
        with opened(path) as store:
            assert store.clean
    assert most == WRITERS


def test_a_second_process_waits_until_the_first_has_ended(tmp_path: Path) -> None:
    with started(tmp_path, "hold") as first:
        assert first.lines.readline() == "boot 1 clean True\n"
        with started(tmp_path, "hold") as second:
            assert second.process.stderr is not None
            assert "waiting for the volume of sessions" in second.process.stderr.readline()
            first.say("one")
            assert first.lines.readline() == "one None\n"
            first.kill()
            assert second.lines.readline() == "boot 2 clean False\n"


def test_a_process_whose_store_was_opened_by_another_ends_at_its_next_commit(tmp_path: Path) -> None:
    with started(tmp_path, "hold") as first:
        assert first.lines.readline() == "boot 1 clean True\n"
        # As when the lock is no lock: a volume in two machines, or a person who tidies up.
        (tmp_path / "LOCK").unlink()
        with started(tmp_path, "hold") as second:
            assert second.lines.readline() == "boot 2 clean False\n"
            first.say("late")
            assert first.lines.readline() == ""
            assert first.process.wait() == 1
            assert first.errors().startswith("StoreTaken: another process has opened")
            second.say("mine")
            assert second.lines.readline() == "mine None\n"


@pytest.fixture(scope="module")
def failing(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The library that lets disks fail."""
    library = failing_disk.library(tmp_path_factory.mktemp("failing"))
    if library is None:
        pytest.skip("needs gcc, for a disk that fails when it is told to")
    return str(library)


async def test_a_sync_that_fails_ends_the_process_and_is_never_tried_again(tmp_path: Path, failing: str) -> None:
    trigger = tmp_path / "fail"
    path = tmp_path / "sessions"
    with started(path, "hold", LD_PRELOAD=failing, FAIL_SYNC=str(trigger)) as running:
        assert running.lines.readline() == "boot 1 clean True\n"
        running.say("good")
        assert running.lines.readline() == "good None\n"
        trigger.touch()
        running.say("lost")
        # Nobody is told anything of it.
        assert running.lines.readline() == ""
        assert running.process.wait() == 1
        assert "StoreBroken" in running.errors()
    assert trigger.read_text() == "x"
    with opened(path) as store:
        assert not store.clean
        assert [found.session for found, _ in store.copies()] == ["session-1 1"]


def test_a_disk_that_cannot_allocate_ahead_keeps_room_for_ends_and_moves(tmp_path: Path, failing: str) -> None:
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=12m", "tmpfs", str(tmp_path)], capture_output=True, check=False
    )
    if mounted.returncode != 0:
        pytest.skip("mounting a small file system needs root on Linux")
    try:
        with started(tmp_path / "sessions", "fill", LD_PRELOAD=failing, NO_ALLOCATION="1") as running:
            assert running.lines.readline() == "boot 1 clean True\n"
            outcome: list[str] = []
            while not outcome or outcome[-1] == "NoneType":
                outcome.append(running.lines.readline().strip())
            assert outcome[-1] == "StoreFull"
            assert len(outcome) == 4
            said = _stop(running)
            assert "cannot allocate blocks" in said, said
    finally:
        subprocess.run(["umount", str(tmp_path)], check=True)


def test_a_commit_that_finds_the_disk_full_fails_and_the_next_one_is_tried(tmp_path: Path, failing: str) -> None:
    trigger = tmp_path / "full"
    with started(tmp_path / "sessions", "hold", LD_PRELOAD=failing, FULL=str(trigger)) as running:
        assert running.lines.readline() == "boot 1 clean True\n"
        running.say("good")
        assert running.lines.readline() == "good None\n"
        trigger.touch()
        running.say("refused")
        assert running.lines.readline().startswith("refused there is no room on the volume of sessions")
        trigger.unlink()
        running.say("good")
        assert running.lines.readline() == "good None\n"
        assert _stop(running) == ""


def _stop(running: Process) -> str:
    assert running.process.stdin is not None
    running.process.stdin.close()
    running.process.stdin = None
    assert running.process.wait() == 0
    return running.errors()


async def test_a_hundred_thousand_sessions_are_opened_in_a_moment(tmp_path: Path) -> None:
    options = StoreOptions(limit=2**31)
    tensors = noise(4096)
    small = 40_000
    with opened(tmp_path, options) as store:
        commits = Commits(store)
        for start in range(0, 100_000, 2000):
            large = None if start < small else tensors
            made = [change(4, number, tensors=large) for number in range(start, start + 2000)]
            assert await commits.commit(*made) is None
        for step in (5, 6):  # One journal is full with the first of these, the next one with the second.
            for start in range(0, small, 2000):
                made = [change(step, number)._replace(in_place=True) for number in range(start, start + 2000)]
                assert await commits.commit(*made) is None
    file = tmp_path / "data.mdb"
    for name in ("cold", "warm"):
        if name == "cold":
            await asyncio.to_thread(_forget, file)
        began, used = time.perf_counter(), time.thread_time()
        with opened(tmp_path, options) as store:
            count = sum(1 for _ in store.copies())
            took, used = time.perf_counter() - began, time.thread_time() - used
            pending = len(store._journal.newer) + len(store._journal.older)
            assert pending > small * 0.9
            assert shown(store.read(key(77_777)))[0].step == 4
            assert shown(store.read(key(7_777)))[0].step == 6
        megabytes = file.stat().st_size >> 20
        print(f"100,000 sessions, {pending} in the journal, {name}: {took:.2f} s, {used:.2f} of CPU, {megabytes} MiB")
        assert count == 100_000
        # 0.6 s on a machine of its own where it is warm; on one that is shared its own part is all that tells.
        assert used < 2.0


def _forget(file: Path) -> None:
    """Drop what the kernel has in memory of a file."""
    with file.open("rb") as handle:
        os.fsync(handle.fileno())
        os.posix_fadvise(handle.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
