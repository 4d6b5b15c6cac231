"""What a server imports at its start."""

import subprocess
import sys

_START = """
import sys
from pathlib import Path
from mooring_runtime.server.serve import Server
from mooring_runtime.settings import ServeSettings
Server(ServeSettings(model_name="m", model_path=Path("m.onnx")))
kept = [name for name in sys.modules if name.startswith("mooring_runtime.sessions.") or name.startswith("lmdb")]
print(*kept)
"""


def test_a_server_that_keeps_no_sessions_imports_nothing_that_keeps_them() -> None:
    told = subprocess.run([sys.executable, "-c", _START], capture_output=True, check=True, text=True)
    assert told.stdout.split() == ["mooring_runtime.sessions.keys"]
