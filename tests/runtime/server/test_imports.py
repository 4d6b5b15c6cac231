"""What a server imports at its start."""

import subprocess
import sys

import pytest

_START = """
import sys
from pathlib import Path
from mooring_runtime.server.serve import Server
from mooring_runtime.settings import ServeSettings
Server(ServeSettings(model_name="m", model_path=Path("m.onnx")))
heavy = ("mooring_runtime.sessions.", "mooring_runtime.backends.", "lmdb")
kept = [name for name in sys.modules if name.startswith(heavy)]
print(*kept)
"""


@pytest.mark.timeout(30)  # It starts a process.
def test_a_server_that_keeps_no_sessions_imports_neither_what_keeps_them_nor_a_backend() -> None:
    told = subprocess.run([sys.executable, "-c", _START], capture_output=True, check=True, text=True)
    assert sorted(told.stdout.split()) == ["mooring_runtime.backends.base", "mooring_runtime.sessions.keys"]
