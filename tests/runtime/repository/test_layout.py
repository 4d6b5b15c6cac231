import json
import os
from pathlib import Path

import pytest

from mooring_runtime.errors import ModelInvalid, ModelNotFound
from mooring_runtime.repository import ModelDirectory, ModelSource, SingleModel, stock_of, wanted
from mooring_runtime.repository.config import VersionPolicy
from mooring_runtime.settings import ServeSettings


def touch(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"x")
    return root


def say(file: Path, **document: object) -> None:
    file.write_text(json.dumps(document))


def versions(stock: ModelDirectory, name: str, said: str | None = None) -> list[str]:
    return [source.version for source in stock.read(name, said)]


def test_the_names_of_a_repository(tmp_path: Path) -> None:
    touch(tmp_path, "b/1/model.onnx", "a/model.onnx", ".git/x", "lost+found/x", "a b/model.onnx", "README.md")
    stock = ModelDirectory(tmp_path)
    assert stock.names() == ["a", "b"]
    assert stock.has("a")
    assert not any(map(stock.has, ("c", "..", "../b", ".git", "README.md", "")))


def test_a_name_that_is_no_text_is_left_out(tmp_path: Path) -> None:
    touch(tmp_path, os.fsdecode(b"caf\xe9/model.onnx"), "café/model.onnx")
    stock = ModelDirectory(tmp_path)
    assert stock.names() == ["café"]
    assert not stock.has(os.fsdecode(b"caf\xe9"))


def test_the_versions_of_a_model(tmp_path: Path) -> None:
    touch(tmp_path, "m/1/model.onnx", "m/2/model.onnx", "m/10/model.onnx", "m/0/model.onnx", "m/03/x", "m/assets/x")
    stock = ModelDirectory(tmp_path)
    assert versions(stock, "m") == ["10"]
    say(tmp_path / "m/mooring.json", versions="all", warmup={"runs": 1})
    say(tmp_path / "m/2/mooring.json", batching={"maxSize": 4})
    found = stock.read("m")
    assert [(source.version, source.path.name) for source in found] == [("1", "1"), ("2", "2"), ("10", "10")]
    assert [(source.config.max_batch, source.config.warmup) for source in found] == [(None, 1), (4, None), (None, 1)]


def test_a_model_without_version_directories_is_version_1(tmp_path: Path) -> None:
    touch(tmp_path, "m/model.onnx")
    [source] = ModelDirectory(tmp_path).read("m")
    assert (source.version, source.path) == ("1", tmp_path / "m")
    assert source.file() == tmp_path / "m/model.onnx"


def test_what_a_client_says_comes_in_place_of_the_files(tmp_path: Path) -> None:
    touch(tmp_path, "m/1/model.onnx", "m/2/model.onnx")
    say(tmp_path / "m/mooring.json", batching={"maxSize": 8}, warmup={"runs": 1})
    said = '{"max_batch_size": 2, "version_policy": {"specific": {"versions": [1]}}}'
    [source] = ModelDirectory(tmp_path).read("m", said)
    assert (source.version, source.config.max_batch, source.config.warmup) == ("1", 2, 1)


def test_the_stamp_changes_with_the_files_and_with_what_is_said(tmp_path: Path) -> None:
    touch(tmp_path, "m/1/model.onnx", "m/1/data/weights")
    stock = ModelDirectory(tmp_path)

    def stamp(said: str | None = None) -> object:
        return stock.read("m", said)[0].stamp

    first = stamp()
    assert first == stamp()
    assert first != stamp("{}")
    os.utime(tmp_path / "m/1/data/weights", (1, 1))
    second = stamp()
    assert second != first
    say(tmp_path / "m/mooring.json", warmup={"runs": 1})
    assert stamp() not in (first, second)


def test_one_model_whose_path_the_system_will_not_look_at_is_told(tmp_path: Path) -> None:
    # Stands for a folder that may not be entered, which tests run by root cannot make.
    source = ModelSource(tmp_path / ("x" * 300), variable="MOORING_MODEL_PATH")
    with pytest.raises(ModelNotFound, match=r"^MOORING_MODEL_PATH: .* cannot be read by user \d+: File name too long"):
        SingleModel("m", source).read("m")


def test_faults_of_a_repository(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(
        ModelNotFound, match=r"MOORING_MODEL_REPOSITORY is .*: it cannot be read by user .*: No such file"
    ):
        ModelDirectory(tmp_path / "missing").names()
    with pytest.raises(ModelNotFound, match=r"cannot read .*missing: No such file"):
        ModelDirectory(tmp_path).read("missing")
    touch(tmp_path, "m/1/model.onnx", "m/config.pbtxt")
    say(tmp_path / "m/1/mooring.json", versions="all")
    with pytest.raises(
        ModelInvalid, match=r"m/1/mooring.json has the key 'versions': it belongs into .*m/mooring.json"
    ):
        ModelDirectory(tmp_path).read("m")
    assert "m/config.pbtxt is not read: say what it says in mooring.json" in caplog.text
    say(tmp_path / "m/1/mooring.json")
    with pytest.raises(ModelNotFound, match=r"version 7 is asked for by the version policy, but there is only 1"):
        ModelDirectory(tmp_path).read("m", '{"version_policy": {"specific": {"versions": [7]}}}')


def test_a_single_model_and_its_configuration(tmp_path: Path) -> None:
    file = touch(tmp_path, "best.onnx") / "best.onnx"
    say(tmp_path / "mooring.json", batching={"maxSize": 4})
    for path in (file, tmp_path):
        stock = stock_of(ServeSettings(model_name="m", model_path=path, model_sha256="0" * 64))
        assert (stock.names(), stock.has("m"), stock.has("n")) == (["m"], True, False)
        [source] = stock.read("m")
        assert (source.version, source.sha256, source.config.max_batch) == ("1", "0" * 64, 4)
        assert source.file() == file
        assert source.stamp is None
    [source] = stock.read("m", '{"max_batch_size": 2}')
    assert source.config.max_batch == 2


def test_a_single_model_has_one_version(tmp_path: Path) -> None:
    say(touch(tmp_path, "model.onnx") / "mooring.json", versions={"specific": [2]})
    with pytest.raises(ModelNotFound, match=r"but there is only 1"):
        SingleModel("m", ModelSource(tmp_path)).read("m")
    say(tmp_path / "mooring.json", versions="all")
    assert SingleModel("m", ModelSource(tmp_path)).read("m")[0].config.versions == VersionPolicy(latest=None)


def test_the_path_of_a_single_model_is_told_with_its_variable(tmp_path: Path) -> None:
    stock = stock_of(ServeSettings(model_name="m", model_path=tmp_path / "missing"))
    with pytest.raises(ModelNotFound, match=r"^MOORING_MODEL_PATH: .*missing: there is no such file or directory"):
        stock.read("m")[0].file()


def test_the_models_to_load_at_the_start(tmp_path: Path) -> None:
    def of(**settings: object) -> tuple[list[str], list[str]]:
        chosen = ServeSettings(model_repository=tmp_path, **settings)  # type: ignore[arg-type]
        return wanted(stock_of(chosen), chosen)

    with pytest.raises(ModelNotFound, match=r"MOORING_MODEL_REPOSITORY is .*: it has no models"):
        of()
    assert of(model_control="explicit") == ([], [])
    touch(tmp_path, "a/model.onnx", "b/model.onnx")
    assert of() == (["a", "b"], [])
    assert of(load_models=("b",)) == (["b"], ["a"])
    with pytest.raises(ModelNotFound, match=r"MOORING_LOAD_MODELS names 'c', of which .* has no directory; it has a"):
        of(load_models=("c",))
