"""What a server in the comparison tells of itself, and how a peer gets its environment."""

import hashlib
import re
import subprocess
import sys
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path

from tests.bench import report
from tests.bench.runtime.cells import MODELS, PROTOCOLS
from tests.bench.runtime.load import Target
from tests.bench.runtime.models import Model
from tests.bench.runtime.processes import Launch, UnavailableError

ROOT = Path(__file__).resolve().parents[4]
VENVS = report.FOLDER / "venv"
INSIDE = Path(__file__).with_name("inside")
"""Files that run in the peers' own environments; nothing here imports them."""


@dataclass(frozen=True)
class Peer(ABC):
    """A server of the comparison in one setting.

    Attributes:
        requirements: its lock is requirements/bench-NAME.txt; empty: it runs in our own environment.
        about: the setting in which it runs.
        models, protocols: what it is measured on. What it does not speak stands here too, and its launch says why.
    """

    name: str
    requirements: str
    about: str
    models: tuple[str, ...] = MODELS
    protocols: tuple[str, ...] = PROTOCOLS

    @abstractmethod
    def launch(self, model: Model, folder: Path) -> Launch:
        """Write what it needs into an empty folder; raise UnavailableError where it cannot run here."""


def install(name: str) -> Path:
    """Make the environment of a lock, unless it stands already; its interpreter. Raises UnavailableError."""
    lock = ROOT / "requirements" / f"bench-{name}.txt"
    place = VENVS / name
    python, stamp = place / "bin" / "python", place / "lock.sha256"
    digest = hashlib.sha256(lock.read_bytes()).hexdigest()
    if stamp.exists() and stamp.read_text() == digest and python.exists():
        return python
    uv = Path(sys.executable).with_name("uv")
    _run(uv, "venv", "--quiet", "--clear", "--python", sys.executable, place)
    _run(uv, "pip", "sync", "--quiet", "--require-hashes", "--python", python, lock)
    stamp.write_text(digest)
    return python


def packages(python: Path) -> Path:
    """Where an environment keeps its packages."""
    return python.parents[1] / "lib" / f"python{sys.version_info.major}.{sys.version_info.minor}" / "site-packages"


def version(requirements: str, package: str) -> str:
    """The version of a package in a lock."""
    text = (ROOT / "requirements" / f"bench-{requirements}.txt").read_text()
    found = re.search(rf"^{re.escape(package)}==(\S+)", text, re.MULTILINE)
    return found[1] if found else "?"


def targets(model: Model, http_port: int, path: str, grpc_port: int | None, *protocols: str) -> dict[str, Target]:
    """Targets for these protocols; HTTP first, for it tells when the server is ready."""
    return {
        protocol: Target(protocol, grpc_port or 0 if protocol == "grpc" else http_port, path, model.bodies[protocol])
        for protocol in protocols
    }


def v2_path(model: Model) -> str:
    """Path of a V2 inference."""
    return f"/v2/models/{model.name}/infer"


def _run(*command: str | Path) -> None:
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False)
    if done.returncode:
        lines = done.stderr.strip().splitlines()
        raise UnavailableError(f"cannot be installed: {' | '.join(lines[-3:])[-300:]}")
