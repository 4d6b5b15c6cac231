"""A model that hangs, in a real process: on a thread the probes tell it, on the event loop the process ends itself."""

import json
import time
from pathlib import Path

import pytest

from tests.support.runtime_load import INFER
from tests.support.runtime_process import connect, exchange, get, one, post, read_reply, serving
from tests.support.runtime_workers import blocking

pytestmark = pytest.mark.timeout(60)


def test_a_run_that_takes_too_long_makes_the_server_not_live_until_it_ends(tmp_path: Path) -> None:
    model = blocking(tmp_path / "model.py", on_the_loop=False)
    with (
        serving(model, allow_unsafe_formats="true", run_timeout="0.5") as running,
        connect(running.port) as connection,
    ):
        assert get(running.port, "/v2/health/live") == (200, {"live": True})
        connection.sendall(post(INFER, one(1.5)))
        while (answer := get(running.port, "/v2/health/live"))[0] == 200:
            time.sleep(0.02)
        reason = "model 'm' has been in one run for longer than MOORING_RUN_TIMEOUT, 0.5 s"
        assert answer == (503, {"live": False, "error": f"not live: {reason}"})
        assert get(running.port, "/v2/health/ready")[0] == 503
        assert read_reply(connection)[0] == 200
        while get(running.port, "/v2/health/live")[0] != 200:
            time.sleep(0.02)
        assert [line["message"] for line in running.lines() if "live" in line["message"]] == [
            f"not live: {reason}",
            "live again: the run that took longer than MOORING_RUN_TIMEOUT has ended",
        ]


def test_a_run_that_hangs_does_not_hold_up_the_end(tmp_path: Path) -> None:
    model = blocking(tmp_path / "model.py", on_the_loop=False)
    message = tmp_path / "message"
    with (
        serving(model, allow_unsafe_formats="true", run_timeout="0.5", termination_log=str(message)) as running,
        connect(running.port) as connection,
    ):
        connection.sendall(post(INFER, one(60)))
        while running.metric("mooring_in_flight") < 1:
            time.sleep(0.01)
        running.stop()
        assert running.code() == 1
        assert json.loads(message.read_text())["reason"] == "Wedged"


def test_a_loop_that_a_model_blocks_ends_the_process(tmp_path: Path) -> None:
    model = blocking(tmp_path / "model.py", on_the_loop=True)
    message = tmp_path / "message"
    with serving(
        model, allow_unsafe_formats="true", run_timeout="0.5", termination_log=str(message), warmup="50"
    ) as running:
        for _ in range(50):  # So that runs are known to be short, and happen on the loop.
            assert exchange(running.port, post(INFER, one(0)))[0] == 200
        with connect(running.port) as connection:
            connection.sendall(post(INFER, one(60)))
            assert running.code() == 1
        assert json.loads(message.read_text())["reason"] == "Wedged"
        [line] = [line for line in running.lines() if line["message"].startswith("the event loop has stood still")]
        assert "time.sleep(" in line["stack"]
