"""What a client sends with a load: a configuration, and files in place of those on disk."""

import os
from pathlib import Path

import pytest

from mooring_runtime.errors import (
    LoadFailed,
    ModelAsleep,
)
from tests.support.repositories import Managed, managing, scaled, until


async def test_a_configuration_that_a_client_sends(tmp_path: Path) -> None:
    scaled(tmp_path / "a/1/model.onnx", 2)
    scaled(tmp_path / "a/2/model.onnx", 3)
    async with managing(tmp_path) as managed:
        said = '{"max_batch_size": 4, "version_policy": {"all": {}}}'
        await managed.control.load("a", said)
        assert managed.control.versions("a") == ["1", "2"]
        assert managed.control.config("a", "1")["max_batch_size"] == 4
        await managed.control.load("a", said)
        assert managed.page.loads.ended["a"]["success"] == 3
        await managed.control.load("a")
        await managed.settled()
        assert managed.control.versions("a") == ["2"]
        assert managed.control.config("a", None)["max_batch_size"] == 32
        with pytest.raises(LoadFailed, match=r"failed to load 'a': config: sequence_batching.oldest is not supported"):
            await managed.control.load("a", '{"sequence_batching": {"oldest": {"max_candidate_sequences": 1}}}')


async def test_files_that_a_client_sends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    private = tmp_path / "private"
    private.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(private))
    root = tmp_path / "models"
    scaled(root / "a/model.onnx", 2)
    sent = {
        f"file:{version}/model.onnx": scaled(tmp_path / "x.onnx", factor).read_bytes()
        for version, factor in (("4", 7), ("5", 8))
    }
    async with managing(root) as managed:
        await managed.control.load("a", "{}", sent)
        await managed.control.load("new", '{"version_policy": {"all": {}}}', sent)
        assert (await managed.ask("a"), await managed.ask("new", "4"), await managed.ask("new")) == (8, 7, 8)
        assert managed.control.versions("a") == ["5"]
        assert len(list(private.iterdir())) == 2
        assert {os.stat(each).st_mode & 0o777 for each in private.iterdir()} == {0o700}  # noqa: PTH116
        await managed.control.load("a")
        await managed.control.unload("new")
        await managed.settled()
        await until(lambda: not list(private.iterdir()))
        assert await managed.ask("a") == 2
        await managed.control.load("a", "{}", sent)
        [kept] = private.iterdir()
    assert not kept.exists()


@pytest.mark.parametrize(
    ("config", "name", "words"),
    [
        (None, "file:1/model.onnx", "files need the parameter config beside them"),
        ("{}", "model.onnx", "the file name 'model.onnx' is not understood; name each file VERSION/NAME"),
        ("{}", "file:1/../../etc/passwd", "is not understood"),
        ("{}", "file:1/..", "is not understood"),
        ("{}", "file:x/model.onnx", "is not understood"),
        ("{}", "file:1/model.pkl", "model.pkl is a pickle: loading it would execute code"),
        ("{}", "file:1/model.py", "model.py is Python code"),
        ("{}", "file:1/model.onnx", "model.onnx is no model that onnxruntime"),
        ("[]", "file:1/model.onnx", "config is \\[\\]: it must be a JSON object"),
    ],
)
async def test_files_that_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, config: str | None, name: str, words: str
) -> None:
    private = tmp_path / "private"
    private.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(private))
    scaled(tmp_path / "models/a/model.onnx", 2)
    async with managing(tmp_path / "models") as managed:
        with pytest.raises(LoadFailed, match=rf"^failed to load 'a': .*{words}"):
            await managed.control.load("a", config, {name: b"garbage"})
        assert await managed.ask("a") == 2
        await until(lambda: not list(private.iterdir()))


async def test_a_digest_forbids_other_files(tmp_path: Path) -> None:
    file = scaled(tmp_path / "model.onnx", 2)
    managed = Managed(tmp_path, MODEL_REPOSITORY="", MODEL_PATH=str(file), MODEL_NAME="m", MODEL_SHA256="0" * 64)
    with pytest.raises(LoadFailed, match=r"MOORING_MODEL_SHA256 says which file this server may serve; send no files"):
        await managed.control.load("m", "{}", {"1/model.onnx": file.read_bytes()})
    with pytest.raises(LoadFailed, match=r"failed to load 'm': model.onnx has the SHA-256 digest"):
        await managed.control.load("m")


async def test_half_of_what_a_client_sends_is_not_served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    private = tmp_path / "private"
    private.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(private))
    scaled(tmp_path / "models/a/model.onnx", 2)
    sent = {"4/model.onnx": scaled(tmp_path / "x.onnx", 7).read_bytes(), "5/model.onnx": b"garbage"}
    async with managing(tmp_path / "models") as managed:
        with pytest.raises(LoadFailed, match=r"model\.onnx is no model"):
            await managed.control.load("a", '{"version_policy": {"all": {}}}', sent)
        await managed.settled()
        assert managed.states() == {"a/1": "READY", "a/5": "UNAVAILABLE"}
        assert await managed.ask("a") == 2
        await until(lambda: not list(private.iterdir()))


async def test_files_stay_while_the_model_sleeps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    private = tmp_path / "private"
    private.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(private))
    scaled(tmp_path / "models/a/model.onnx", 2, 40_000)
    sent = {"1/model.onnx": scaled(tmp_path / "x.onnx", 7, 40_000).read_bytes()}
    async with managing(tmp_path / "models", MAX_LOADED_BYTES="60000") as managed:
        await managed.control.load("b", "{}", sent)
        assert managed.states() == {"a/1": "UNAVAILABLE", "b/1": "READY"}
        await managed.control.load("a")
        assert managed.states() == {"a/1": "READY", "b/1": "UNAVAILABLE"}
        assert len(list(private.iterdir())) == 1
        with pytest.raises(ModelAsleep):
            await managed.ask("b")
        await until(lambda: managed.states()["b/1"] == "READY")
        assert await managed.ask("b") == 7


async def test_a_load_that_fails_leaves_a_model_asleep(tmp_path: Path) -> None:
    for factor, name in enumerate("ab", 1):
        scaled(tmp_path / name / "model.onnx", factor, 40_000)
    async with managing(tmp_path, MAX_LOADED_BYTES="60000") as managed:
        assert managed.states() == {"a/1": "READY", "b/1": "UNAVAILABLE"}
        with pytest.raises(LoadFailed, match="max_batch_size is -1"):
            await managed.control.load("b", '{"max_batch_size": -1}')
        with pytest.raises(LoadFailed, match=r"has no file z\.onnx"):
            await managed.control.load("b", '{"default_model_filename": "z.onnx"}')
        with pytest.raises(ModelAsleep, match=r"the last try failed: .* has no file z\.onnx"):
            await managed.ask("b")
        await until(lambda: managed.states()["b/1"] == "READY")
        assert await managed.ask("b") == 2
