"""Looking at the workers of a real server."""

import time
from pathlib import Path
from typing import Any

from tests.support.runtime_process import Server, get


def worker_pids(server: Server) -> list[int]:
    """The processes that the supervisor has started."""
    pid = server.process.pid
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def answers_of_all(server: Server, path: str, tries: int = 16) -> list[tuple[int, Any]]:
    """What a GET is answered on as many new connections, of which each worker gets some; each answer once."""
    found: list[tuple[int, Any]] = []
    for _ in range(tries):
        answer = get(server.port, path)
        if answer not in found:
            found.append(answer)
    return found


def until_ready_again(server: Server, times: int = 1, seconds: float = 20) -> None:
    """Wait until so many workers have come back."""
    end = time.monotonic() + seconds
    while sum("is ready again" in line["message"] for line in server.lines()) < times:
        assert time.monotonic() < end, server.log()
        time.sleep(0.02)


BLOCKING = '''
import time

import numpy as np


class Model:
    """Gives back what it gets; a number above 0 is how many seconds that takes."""

    inputs = {"x": ("FP32", [1])}
    outputs = {"y": ("FP32", [1])}

    def predict(self, inputs):
        time.sleep(max(SLEEP, float(inputs["x"][0])))
        return {"y": inputs["x"]}
'''


def blocking(file: Path, *, on_the_loop: bool) -> Path:
    """A model in Python that can block: on the event loop, where a short run has its place, or on a thread."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(BLOCKING.replace("SLEEP", "0.0" if on_the_loop else "0.01"))
    return file
