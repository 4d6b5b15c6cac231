"""A real Prometheus of a test's own: Debian's, as a process on loopback with its own folder."""

import json
import shutil
import subprocess
import urllib.parse
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.cluster import debian
from tests.cluster.processes import wait_until
from tests.support.ports import free_port

START_SECONDS = 30


def skip_reason() -> str | None:
    """Why Prometheus cannot run here, in one line; None when it can."""
    return debian.unfetchable("prometheus", debian.PROMETHEUS)


class Server:
    """A Prometheus that scrapes some addresses each second, and `again` once more as another job would.

    `job` is what the job of `targets` says besides.
    """

    def __init__(
        self, folder: Path, targets: Sequence[str] = (), again: Sequence[str] = (), job: dict[str, Any] | None = None
    ) -> None:
        if reason := skip_reason():
            pytest.skip(reason)
        debian.unpack("prometheus", debian.PROMETHEUS)
        self._folder = folder
        self._data = folder / "data"
        self._log = folder / "log"
        self._process: subprocess.Popen[bytes] | None = None
        self.url = f"http://127.0.0.1:{free_port()}"
        folder.mkdir(parents=True, exist_ok=True)
        jobs: list[dict[str, Any]] = [
            {"job_name": "models", "static_configs": [{"targets": list(targets)}], **(job or {})}
        ]
        if again:
            jobs.append({"job_name": "another", "static_configs": [{"targets": list(again)}]})
        configuration = {"global": {"scrape_interval": "1s", "scrape_timeout": "1s"}, "scrape_configs": jobs}
        # YAML takes JSON.
        (folder / "prometheus.yml").write_text(json.dumps(configuration))

    def backfill(self, page: str) -> None:
        """Put a past into it that is written as OpenMetrics with times. Before `start`."""
        source = self._folder / "past.txt"
        source.write_text(page)
        tool = debian.program("promtool", "prometheus")
        argv = [str(tool), "tsdb", "create-blocks-from", "openmetrics", str(source), str(self._data)]
        done = subprocess.run(argv, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr

    def start(self) -> "Server":
        """Start it and wait until it answers."""
        program = debian.program("prometheus", "prometheus")
        address = self.url.removeprefix("http://")
        argv = [str(program), f"--config.file={self._folder / 'prometheus.yml'}", f"--storage.tsdb.path={self._data}"]
        argv += [f"--web.listen-address={address}", "--storage.tsdb.retention.time=30d", "--log.level=warn"]
        with self._log.open("ab") as output:
            self._process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=output, stderr=output)
        wait_until(self._answers, START_SECONDS, f"Prometheus to answer; its log: {self._log}")
        return self

    def stop(self, forget: bool = False) -> None:
        """End it; `forget` loses all that it has, as one without a volume does."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None
        if forget:
            shutil.rmtree(self._data, ignore_errors=True)

    def signal(self, number: int) -> None:
        """Send it a signal, such as one that stops it for a while."""
        assert self._process is not None
        self._process.send_signal(number)

    def query(self, query: str) -> list[dict[str, Any]]:
        """What an instant query answers."""
        with urllib.request.urlopen(f"{self.url}/api/v1/query?{urllib.parse.urlencode({'query': query})}") as answer:
            found: list[dict[str, Any]] = json.load(answer)["data"]["result"]
        return found

    def _answers(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, self._log.read_text()
        try:
            with urllib.request.urlopen(f"{self.url}/-/ready", timeout=1):
                return True
        except OSError:
            return False


@contextmanager
def prometheus(
    folder: Path,
    past: str = "",
    targets: Sequence[str] = (),
    again: Sequence[str] = (),
    job: dict[str, Any] | None = None,
) -> Iterator[Server]:
    """A running Prometheus, which remembers `past`. It needs five seconds before it scrapes for the first time."""
    server = Server(folder, targets, again, job)
    if past:
        server.backfill(past)
    try:
        yield server.start()
    finally:
        server.stop()
