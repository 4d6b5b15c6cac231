"""The library that lets the disk of a process fail, fill up, or take its time; see `failing_disk.c`."""

import shutil
import subprocess
from pathlib import Path

_SOURCE = Path(__file__).with_suffix(".c")


def library(folder: Path) -> Path | None:
    """Its file, made in a folder, for `LD_PRELOAD`; None where there is no compiler."""
    compiler = shutil.which("gcc")
    if compiler is None:
        return None
    file = folder / "failing_disk.so"
    subprocess.run([compiler, "-shared", "-fPIC", "-O1", "-o", file, _SOURCE, "-ldl"], check=True)
    return file
