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

from tests.cluster import monitoring
from tests.cluster.processes import wait_until
from tests.support.ports import free_port

START_SECONDS = 30


class Server:
    """A Prometheus that scrapes some addresses each second, and `again` once more as another job would.

    `job` is what the job of `targets` says besides; `jobs` are others, whole.
    """

    def __init__(
        self,
        folder: Path,
        targets: Sequence[str] = (),
        again: Sequence[str] = (),
        job: dict[str, Any] | None = None,
        jobs: Sequence[dict[str, Any]] = (),
    ) -> None:
        if reason := monitoring.unavailable():
            pytest.skip(reason)
        self._folder = folder
        self._data = folder / "data"
        self._log = folder / "log"
        self._process: subprocess.Popen[bytes] | None = None
        self.url = f"http://127.0.0.1:{free_port()}"
        folder.mkdir(parents=True, exist_ok=True)
        every: list[dict[str, Any]] = [
            {"job_name": "models", "static_configs": [{"targets": list(targets)}], **(job or {})},
            *jobs,
        ]
        if again:
            every.append({"job_name": "another", "static_configs": [{"targets": list(again)}]})
        configuration = {"global": {"scrape_interval": "1s", "scrape_timeout": "1s"}, "scrape_configs": every}
        # YAML takes JSON.
        (folder / "prometheus.yml").write_text(json.dumps(configuration))

    def backfill(self, page: str) -> None:
        """Put a past into it that is written as OpenMetrics with times. Before `start`."""
        source = self._folder / "past.txt"
        source.write_text(page)
        tool = monitoring.program("promtool")
        argv = [str(tool), "tsdb", "create-blocks-from", "openmetrics", str(source), str(self._data)]
        done = subprocess.run(argv, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr

    def start(self) -> "Server":
        """Start it and wait until it answers."""
        program = monitoring.program("prometheus")
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
        found: list[dict[str, Any]] = self._ask(f"query?{urllib.parse.urlencode({'query': query})}")["result"]
        return found

    def targets(self, state: str) -> list[dict[str, Any]]:
        """What its jobs have found: those that they scrape ("active"), or those that they do not ("dropped")."""
        found: list[dict[str, Any]] = self._ask(f"targets?state={state}")[f"{state}Targets"]
        return found

    def _ask(self, what: str) -> Any:
        with urllib.request.urlopen(f"{self.url}/api/v1/{what}") as answer:
            return json.load(answer)["data"]

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
    jobs: Sequence[dict[str, Any]] = (),
) -> Iterator[Server]:
    """A running Prometheus, which remembers `past`. It needs five seconds before it scrapes for the first time."""
    server = Server(folder, targets, again, job, jobs)
    if past:
        server.backfill(past)
    try:
        yield server.start()
    finally:
        server.stop()
