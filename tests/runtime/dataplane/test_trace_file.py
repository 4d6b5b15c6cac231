import json
import logging
from pathlib import Path
from typing import Any

import pytest

from mooring_runtime.dataplane.trace_file import TraceFile
from mooring_runtime.scheduling.jobs import Run

RUN = Run(2.0, 0.25, 0.5, 0.125)


def read(path: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(path.read_text())
    return found


async def test_a_trace_is_two_objects_as_triton_writes_them(tmp_path: Path) -> None:
    file = TraceFile(tmp_path / "t.json")
    file.add("m", "3", "abc", (1.0, RUN, 3.0))
    file.flush()
    told, stamps = read(tmp_path / "t.json")
    assert told == {"id": 1, "model_name": "m", "model_version": 3, "request_id": "abc"}
    assert stamps["id"] == 1
    assert [(stamp["name"], stamp["ns"]) for stamp in stamps["timestamps"]] == [
        ("REQUEST_START", 1_000_000_000),
        ("QUEUE_START", 1_000_000_000),
        ("COMPUTE_START", 2_000_000_000),
        ("COMPUTE_INPUT_END", 2_250_000_000),
        ("COMPUTE_OUTPUT_START", 2_750_000_000),
        ("COMPUTE_END", 2_875_000_000),
        ("REQUEST_END", 3_000_000_000),
    ]


async def test_the_file_is_whole_after_each_write(tmp_path: Path) -> None:
    path = tmp_path / "t.json"
    path.write_text("of an earlier process")
    file = TraceFile(path)
    for number in range(1, 4):
        file.add("m", "1", "", (0.0, RUN, 3.0))
        file.flush()
        assert [entry["id"] for entry in read(path)[::2]] == list(range(1, number + 1))


async def test_each_so_many_traces_get_a_file_of_their_own(tmp_path: Path) -> None:
    file = TraceFile(tmp_path / "t.json")
    file.split(2)
    for _ in range(5):
        file.add("m", "1", "", (0.0, RUN, 3.0))
    file.flush()
    file.add("m", "1", "", (0.0, RUN, 3.0))
    file.flush()
    ids = [[entry["id"] for entry in read(tmp_path / f"t.json.{number}")[::2]] for number in range(3)]
    assert ids == [[1, 2], [3, 4], [5, 6]]


async def test_a_file_that_cannot_be_written_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    file = TraceFile(tmp_path / "missing" / "t.json")
    file.add("m", "1", "", (0.0, RUN, 3.0))
    with caplog.at_level(logging.ERROR):
        file.flush()
    assert f"cannot write traces to {tmp_path / 'missing' / 't.json'}: No such file or directory" in caplog.text
