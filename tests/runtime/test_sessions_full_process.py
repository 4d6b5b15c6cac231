"""A server on a full volume: steps are refused, all that was acknowledged is read, and goes on when there is room."""

import json
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.faults import ledger
from tests.support.runtime_process import Server, connect, get, post, read_reply

pytestmark = pytest.mark.timeout(60)

MOST = 4000
"""Sessions of 16 KiB: many times what there is room for."""


class Told(NamedTuple):
    """An answer."""

    status: int
    document: dict[str, Any]

    @property
    def page(self) -> tuple[int, list[int]]:
        """The steps behind the state that it shows, and the last two words of them."""
        assert self.status == 200, self
        outputs = {each["name"]: each["data"] for each in self.document["outputs"]}
        return outputs["count"][0], outputs["recent"][-2:]

    @property
    def refused(self) -> bool:
        """There was no room. Fails for any other error."""
        if self.status == 200:
            return False
        assert (self.status, self.document["cause"], self.document["applied"]) == (507, "volume-full", "no"), self
        return True


class Volume:
    """Servers on one volume, one after the other."""

    def __init__(self, root: Path, sessions: Path, variables: dict[str, str]) -> None:
        self._root = root
        self._variables = {
            "model_repository": str(root),
            "default_model": ledger.NAME,
            "model_path": "",
            "session_path": str(sessions),
            "stand_alone": "true",
            **variables,
        }
        self.server: Server
        self.start()

    def start(self) -> None:
        self.server = Server(self._root, "", **self._variables).ready()
        self._line = connect(self.server.port)

    def step(self, session: str, number: int, word: int, *, end: bool = False) -> Told:
        tensor = {"name": "word", "shape": [1, 1], "datatype": "INT64", "data": [word]}
        said = {"sequence_id": session, "sequence_start": number == 1, "sequence_end": end, "sequence_step": number}
        body = json.dumps({"inputs": [tensor], "parameters": said}).encode()
        self._line.sendall(post(f"/v2/models/{ledger.NAME}/infer", body))
        status, _, answer = read_reply(self._line)
        return Told(status, json.loads(answer))

    def stop(self, number: int) -> None:
        self._line.close()
        self.server.stop(number)
        assert self.server.code() == (0 if number == signal.SIGTERM else -number)
        self.server.end()

    def close(self) -> None:
        self._line.close()
        self.server.end()


@pytest.fixture(params=["limit", "disk"])
def volume(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Volume]:
    """With room for some hundred sessions: by the setting, or because its disk is no larger."""
    ledger.write(tmp_path / "models", 1)
    disk = tmp_path / "disk"
    disk.mkdir()
    variables = {"max_volume_bytes": str(4 * 2**20)} if request.param == "limit" else {}
    if request.param == "disk":
        command = ["mount", "-t", "tmpfs", "-o", "size=6m", "tmpfs", str(disk)]
        if subprocess.run(command, capture_output=True, check=False).returncode:
            pytest.skip("mounting a small file system needs root on Linux")
    made = Volume(tmp_path / "models", disk / "sessions", variables)
    try:
        yield made
    finally:
        made.close()
        if request.param == "disk":
            subprocess.run(["umount", str(disk)], check=True)


def test_a_server_goes_on_with_a_full_volume_and_after_it(volume: Volume) -> None:
    full = next(number for number in range(MOST) if volume.step(f"s{number}", 1, number + 1).refused)
    assert full > 10
    steps = dict.fromkeys(range(full), 1)
    for signal_number in (signal.SIGKILL, signal.SIGTERM):
        # To the last page: what a step frees can be used by the next but one.
        refused = 0
        for session in range(full):
            told = volume.step(f"s{session}", steps[session] + 1, MOST + session)
            refused += told.refused
            steps[session] += not told.refused
        assert refused > 0
        volume.stop(signal_number)
        volume.start()
        assert volume.step("new", 1, 1).refused
        for session, number in steps.items():
            last = session + 1 if number == 1 else MOST + session
            told = volume.step(f"s{session}", number, last)
            assert told.page[0] == number
            assert told.page[1][-1] == last
            status, document = get(volume.server.port, f"/v2/sessions/s{session}")
            assert (status, document["step"]) == (200, number)
    for session in range(full // 2, full):
        assert volume.step(f"s{session}", steps[session] + 1, 1, end=True).page[0] == steps[session] + 1
    for session in range(full // 4):
        for word in (7, 8):
            told = volume.step(f"s{session}", steps[session] + 1, word)
            steps[session] += 1
            assert (told.page[0], told.page[1][-1]) == (steps[session], word)
    assert volume.step("new", 1, 1).page == (1, [0, 1])
