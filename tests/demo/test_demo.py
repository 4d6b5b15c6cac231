"""The demo as a user runs it: up, up again, every command that it names, down."""

import re
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from tests.cluster import processes
from tests.cluster.places import ROOT, run_folder, state_folder
from tests.support import clusters

NAME = "test-demo"
AGAIN_SECONDS = 60

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]


def demo(verb: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tests.demo", verb, "--name", NAME],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(scope="module")
def first() -> Iterator[subprocess.CompletedProcess[str]]:
    if clusters.borrowed_context():
        pytest.skip("the demo makes a cluster of its own; MOORING_TEST_CONTEXT asks for another")
    if reason := clusters.skip_reason(nodes=2):
        pytest.skip(reason)
    demo("down")
    yield demo("up")
    demo("down")


def test_the_answers_are_magikas_own(first: subprocess.CompletedProcess[str]) -> None:
    assert first.returncode == 0, first.stdout + first.stderr
    assert re.search(r"README\.md\s+markdown \(0\.\d+\)\s+markdown \(0\.\d+\)\n", first.stdout)
    assert "DIFFERENT" not in first.stdout


def test_every_long_step_shows_its_seconds(first: subprocess.CompletedProcess[str]) -> None:
    for name in ("start a cluster of 2 nodes", "install the chart", "serve examples/file-type/service.yaml"):
        assert re.search(rf"^{re.escape(name)} … \d+ s$", first.stderr, re.MULTILINE)


def test_again_is_quick_and_changes_nothing(first: subprocess.CompletedProcess[str]) -> None:
    started = time.monotonic()
    again = demo("up")
    assert again.returncode == 0, again.stderr
    assert time.monotonic() - started < AGAIN_SECONDS
    assert "start a cluster" not in again.stderr
    assert "load " not in again.stderr


def test_every_command_that_it_names_works(first: subprocess.CompletedProcess[str]) -> None:
    assert re.search(r"/bin/ls\s+elf", followed(first.stdout))


def test_a_stream_goes_on_when_its_pod_is_killed(first: subprocess.CompletedProcess[str]) -> None:
    stateful = demo("stateful")
    assert stateful.returncode == 0, stateful.stdout + stateful.stderr
    assert "start a cluster" not in stateful.stderr
    assert re.search(r"kill -9 for all \d+ processes of pod speech-[01]\n", stateful.stdout)
    assert re.search(r"step \d+ is answered at try \d+, ", stateful.stdout)
    assert stateful.stdout.count("Nothing was lost.") == 1
    assert re.search(r"session \w+: \d+ steps, ", followed(stateful.stdout))


def followed(stdout: str) -> str:
    """What the commands say that a demo has named at its end, in one shell; all but the last, which takes it down."""
    named = [line.strip() for line in stdout.partition("Try next")[2].splitlines() if line.startswith("  ")]
    *useful, last = [line for line in named if not line.startswith("#")]
    assert last.endswith(f"down --name {NAME}")
    assert len(useful) > 5
    result = subprocess.run(
        ["bash", "-euo", "pipefail"], input="\n".join(useful), capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


def test_down_leaves_nothing(first: subprocess.CompletedProcess[str]) -> None:
    state = state_folder(NAME)
    assert processes.marked(state)
    down = demo("down")
    assert down.returncode == 0, down.stderr
    assert processes.marked(state) == set()
    assert not state.exists()
    assert not state.with_name(f"{NAME}.lock").exists()
    assert not run_folder(state).exists()
