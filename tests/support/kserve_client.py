"""Runs what the kserve client does, in the environment that is its own."""

import json
import subprocess
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
PYTHON = ROOT / ".venv-clients/bin/python"


def run(script: str, address: str) -> Any:
    """What the script of `tests/runtime/clients` found at the server of this address; its last line, JSON."""
    assert PYTHON.exists(), "there is no .venv-clients: run `make install`"
    command = [str(PYTHON), "-W", "ignore", str(ROOT / "tests/runtime/clients" / script), address]
    done = subprocess.run(command, capture_output=True, text=True, timeout=80, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])
