"""The commands of the real process: what they refuse, what they leave behind, what they log."""

import json
import signal
import socket
import subprocess
import sys
import time
from importlib.metadata import version as installed
from pathlib import Path

import pytest

from mooring_runtime import __version__
from tests.support import models
from tests.support.runtime_process import Runtime, Server, exchange, perceptron_request, post, serving

pytestmark = pytest.mark.timeout(60)

INFER = "/v2/models/m/infer"


@pytest.fixture
def perceptron(tmp_path: Path) -> Path:
    return models.perceptron(tmp_path / "good.onnx")


def run(command: str, tmp_path: Path, **variables: str) -> tuple[int, dict[str, str] | None, str]:
    """Exit code, termination message and log of a command that ends by itself."""
    message = tmp_path / "termination"
    settings = {f"MOORING_{key.upper()}": value for key, value in variables.items()}
    running = Runtime(command, {"MOORING_TERMINATION_LOG": str(message), **settings})
    try:
        code = running.code()
        return code, json.loads(message.read_text()) if message.exists() else None, running.log()
    finally:
        running.end()


def test_wrong_settings(tmp_path: Path) -> None:
    code, message, log = run("serve", tmp_path, http_port="http")
    assert code == 2
    assert message is not None
    assert message["reason"] == "SettingsInvalid"
    assert "MOORING_MODEL_NAME is not set" in message["message"]
    assert "MOORING_HTTP_PORT is 'http': it must be a whole number from 0 to 65535" in message["message"]
    assert "Traceback" not in log


@pytest.mark.parametrize("command", ["serve", "check"])
@pytest.mark.parametrize(
    ("name", "content", "digest", "reason"),
    [
        ("model.onnx", b"garbage", None, "ModelInvalid"),
        ("model.onnx", b"garbage", "0" * 64, "DigestMismatch"),
        ("model.pt", b"garbage", None, "UnsafeFormat"),
        ("README.md", b"", None, "ModelNotFound"),
    ],
)
def test_what_cannot_be_served(
    tmp_path: Path, command: str, name: str, content: bytes, digest: str | None, reason: str
) -> None:
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / name).write_bytes(content)
    variables = {
        "model_name": "m",
        "model_path": str(tmp_path / "models"),
        "http_port": "0",
        "grpc_port": "0",
        "metrics_port": "0",
    }
    code, message, log = run(command, tmp_path, **variables, **({"model_sha256": digest} if digest else {}))
    assert code == 1
    assert message is not None
    assert message["reason"] == reason
    assert "Traceback" not in log


def test_check_takes_a_good_model(perceptron: Path, tmp_path: Path) -> None:
    code, message, log = run("check", tmp_path, model_name="m", model_path=str(perceptron))
    assert (code, message) == (0, None)
    assert "model 'm' can be served: inputs x" in log


def test_check_takes_a_repository_and_names_the_model_at_fault(tmp_path: Path) -> None:
    root = tmp_path / "many"
    for name in ("a/1", "a/2", "b"):
        (root / name).mkdir(parents=True)
        models.perceptron(root / name / "model.onnx")
    code, message, log = run("check", tmp_path, model_repository=str(root))
    assert (code, message) == (0, None)
    assert "model 'a' can be served: inputs x" in log
    assert "model 'b' can be served: inputs x" in log
    (root / "b" / "mooring.json").write_text('{"warmup": 3}')
    code, message, _ = run("check", tmp_path, model_repository=str(root))
    assert code == 1
    assert message == {
        "reason": "ModelInvalid",
        "message": f"{root}/b/mooring.json: warmup is 3: it must be a JSON object",
    }


@pytest.mark.parametrize("command", ["serve", "check"])
def test_code_is_refused_until_it_is_allowed(tmp_path: Path, command: str) -> None:
    (tmp_path / "model.pt").write_bytes(b"garbage")
    given = {"model_name": "m", "model_path": str(tmp_path), "http_port": "0", "grpc_port": "0", "metrics_port": "0"}
    code, message, _ = run(command, tmp_path, **given)
    assert (code, message is not None and message["reason"]) == (1, "UnsafeFormat")
    assert "set MOORING_ALLOW_UNSAFE_FORMATS=true if you trust it" in str(message)
    code, message, _ = run(command, tmp_path, **given, allow_unsafe_formats="true")
    assert (code, message is not None and message["reason"]) == (1, "UnsafeFormat")
    assert "a pickle, which no setting allows" in str(message)


def test_a_port_that_is_taken(perceptron: Path, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        given = {"model_name": "m", "model_path": str(perceptron), "host": "127.0.0.1", "http_port": port}
        code, message, _ = run("serve", tmp_path, **given)
    assert code == 2
    assert message is not None
    assert f"cannot listen on 127.0.0.1, port {port}: " in message["message"]
    assert "set MOORING_HOST or MOORING_HTTP_PORT" in message["message"]


def test_fetch_refuses_this_machine(tmp_path: Path) -> None:
    given = {"model_uri": "https://127.0.0.1:1/model.onnx", "model_sha256": "0" * 64, "model_dir": str(tmp_path / "m")}
    code, message, _ = run("fetch", tmp_path, **given)
    assert code == 1
    assert message is not None
    assert message["reason"] == "AddressRefused"


def test_a_fetch_that_is_told_to_stop_has_not_succeeded(tmp_path: Path) -> None:
    uri = "https://unreachable.invalid/model.onnx"
    given = {"MOORING_MODEL_URI": uri, "MOORING_MODEL_SHA256": "0" * 64, "MOORING_MODEL_DIR": str(tmp_path)}
    running = Runtime("fetch", given)
    try:
        running.line(f"{uri}: cannot resolve")
        running.stop()
        assert running.code() == 128 + signal.SIGTERM
    finally:
        running.end()


@pytest.mark.parametrize(("command", "word"), [("serve", "MOORING_DRAIN_SECONDS"), ("fetch", "MOORING_MODEL_URI")])
def test_help_tells_the_variables(command: str, word: str) -> None:
    argv = [sys.executable, "-m", "mooring_runtime", command, "--help"]
    told = subprocess.run(argv, capture_output=True, text=True, check=True).stdout
    assert word in told
    assert max(map(len, told.splitlines())) <= 140


def test_the_version_is_the_distributions() -> None:
    assert installed("mooring-runtime") == __version__


def test_the_access_log(perceptron: Path) -> None:
    with serving(perceptron, access_log="true") as running:
        exchange(running.port, post(INFER, perceptron_request()))
        line = running.line(f"POST {INFER} 200")
        assert line["logger"] == "mooring_runtime.access"
        assert line["bytes_in"] == len(perceptron_request())
        assert line["bytes_out"] > 0
        assert line["seconds"] < 10


def test_the_text_log(perceptron: Path) -> None:
    running = Server(perceptron, log_format="text", log_level="INFO")
    try:
        while "INFO mooring_runtime.server.serve: ready" not in running.log():
            assert running.process.poll() is None, running.log()
            time.sleep(0.02)
    finally:
        running.end()


def test_as_many_connections_as_the_kernel_allows(perceptron: Path) -> None:
    with serving(perceptron) as running:
        limits = Path(f"/proc/{running.process.pid}/limits").read_text()
        [files] = [line.split() for line in limits.splitlines() if line.startswith("Max open files")]
        assert files[3] == files[4]
