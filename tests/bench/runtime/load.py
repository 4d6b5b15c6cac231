"""Runs a load generator against one server and reads what it prints: wrk, h2load, or our open loop."""

import base64
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from tests.bench import report
from tests.bench.runtime.cells import Figure
from tests.bench.runtime.openloop import GRACE, Spec
from tests.bench.runtime.wire import RPC, Body

_SCRIPT = Path(__file__).with_name("wrk.lua")
_EXTRA_SECONDS = 30
PACKAGES = {"wrk": "wrk", "h2load": "nghttp2-client"}
"""The Debian package of each generator."""


class LoadError(Exception):
    """There is no figure; the message tells why."""


@dataclass(frozen=True)
class Target:
    """One way to reach a server."""

    protocol: str
    port: int
    path: str
    body: Body
    answer_bytes: int = 0
    """Bytes of a right answer, which tell a gRPC error from an answer: both have HTTP status 200."""


def closed(target: Target, connections: int, seconds: int, cores: Sequence[int]) -> Figure:
    """Closed loops for whole seconds, from these cores. Raises LoadError."""
    if target.protocol == "grpc":
        return _h2load(target, connections, seconds, cores)
    return _wrk(target, connections, seconds, cores)


def opened(target: Target, rate: float, seconds: float, seed: int, cores: Sequence[int]) -> Figure:
    """Poisson arrivals. Raises LoadError."""
    data = base64.b64encode(target.body.data).decode()
    spec = Spec(target.protocol, target.port, target.path, target.body.headers, data, rate, seconds, seed)
    command = [sys.executable, "-m", "tests.bench.runtime.openloop"]
    printed = _run(command, cores, seconds + GRACE, stdin=json.dumps(asdict(spec)))
    return read_openloop(printed)


def missing_generator(protocol: str) -> str | None:
    """Why closed loops of a protocol cannot be made here, or None."""
    program = "h2load" if protocol == "grpc" else "wrk"
    if shutil.which(program) is None:
        return f"{program} is not installed (Debian package {PACKAGES[program]})"
    return None


def _wrk(target: Target, connections: int, seconds: int, cores: Sequence[int]) -> Figure:
    url = f"http://127.0.0.1:{target.port}{target.path}"
    # Whole seconds only: wrk takes `-d2.5s` for a mistake and prints its usage.
    command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--timeout", "5s", "-s", str(_SCRIPT), url]
    headers = "\n".join(f"{name}: {value}" for name, value in target.body.headers)
    with tempfile.NamedTemporaryFile() as body:
        Path(body.name).write_bytes(target.body.data)
        return read_wrk(_run(command, cores, seconds, env={"BODY": body.name, "HEADERS": headers}))


def _h2load(target: Target, connections: int, seconds: int, cores: Sequence[int]) -> Figure:
    url = f"http://127.0.0.1:{target.port}{RPC}"
    with tempfile.TemporaryDirectory() as folder:
        body, log = Path(folder, "body"), Path(folder, "log")
        body.write_bytes(target.body.data)
        command = ["h2load", "-p", "h2c", "-t1", f"-c{connections}", "-m1", f"-D{seconds}", "-d", str(body)]
        command += ["-H", "content-type: application/grpc", "-H", "te: trailers", f"--log-file={log}", url]
        printed = _run(command, cores, seconds)
        return read_h2load(printed, log.read_text() if log.exists() else "", target.answer_bytes)


def read_wrk(printed: str) -> Figure:
    """The figure in what wrk and its script print. Raises LoadError, also for a run with failures."""
    line = next((line for line in printed.splitlines() if line.startswith("RESULT ")), None)
    if line is None:
        raise LoadError(f"wrk told no result: {printed[:300]!r}")
    told = json.loads(line.removeprefix("RESULT "))
    if told["failed"] or told["broken"] or not told["requests"]:
        raise LoadError(
            f"{told['failed']} answers with an error and {told['broken']} broken connections among "
            f"{told['requests']} requests"
        )
    return Figure(told["requests"] / told["seconds"], told["p50"], told["p99"])


def read_h2load(printed: str, log: str, answer_bytes: int) -> Figure:
    """The figure in what h2load prints and in its log (start, status, microseconds a line). Raises LoadError."""
    rate = re.search(r"finished in [\d.]+\w+, ([\d.]+) req/s", printed)
    counts = re.search(r"(\d+) succeeded, (\d+) failed, (\d+) errored", printed)
    if rate is None or counts is None:
        raise LoadError(f"h2load told no result: {printed[:300]!r}")
    succeeded, failed, errored = map(int, counts.groups())
    if failed or errored or not succeeded:
        raise LoadError(f"{failed} answers with an error and {errored} broken among {succeeded + failed} requests")
    data = re.search(r"\((\d+)\) data", printed)
    if data is None or int(data[1]) < 0.99 * answer_bytes * succeeded:
        raise LoadError(f"answers without a message: {data[1] if data else '?'} bytes in {succeeded} answers")
    waited = [int(line.split("\t")[2]) / 1000 for line in log.splitlines()]
    if not waited:
        raise LoadError("h2load logged no request")
    return Figure(float(rate[1]), report.percentile(waited, 50), report.percentile(waited, 99))


def read_openloop(printed: str) -> Figure:
    """The figure in what the open loop prints. Raises LoadError."""
    try:
        told = json.loads(printed)
    except ValueError:
        raise LoadError(f"the open loop told no result: {printed[:300]!r}") from None
    if "error" in told or told["failed"] or not told["rate"]:
        raise LoadError(told.get("error") or f"{told['failed']} answers with an error, {told['rate']:.0f} right ones/s")
    return Figure(told["rate"], told["p50"], told["p99"], late=told["late"])


def _run(
    command: list[str],
    cores: Sequence[int],
    seconds: float,
    env: dict[str, str] | None = None,
    stdin: str = "",
) -> str:
    pinned = ["taskset", "-c", ",".join(map(str, cores)), *command]
    try:
        done = subprocess.run(
            pinned,
            env={**os.environ, **(env or {})},
            input=stdin,
            capture_output=True,
            text=True,
            timeout=seconds + _EXTRA_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise LoadError(f"{command[0]} did not end within {seconds + _EXTRA_SECONDS:.0f} s") from None
    except FileNotFoundError as error:
        raise LoadError(f"cannot start {command[0]}: {error}") from error
    if not done.stdout:
        raise LoadError(f"{command[0]} ended with {done.returncode}: {done.stderr[-300:]}")
    return done.stdout
