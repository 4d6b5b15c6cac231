from pathlib import Path

import pytest

from mooring_runtime.dataplane.control import IndexEntry
from mooring_runtime.errors import ModelNotReady, UnknownModel
from tests.support.repositories import managing, scaled, write


def two(root: Path) -> Path:
    scaled(root / "a/1/model.onnx", 2)
    scaled(root / "a/2/model.onnx", 3)
    write(root / "a/mooring.json", {"versions": "all", "batching": {"maxSize": 8, "preferredSizes": [4, 8]}})
    scaled(root / "b/model.onnx", 4)
    return root


async def test_the_index(tmp_path: Path) -> None:
    async with managing(two(tmp_path), LOAD_MODELS="a") as managed:
        ready = [IndexEntry("a", "1", "READY", ""), IndexEntry("a", "2", "READY", "")]
        assert managed.control.index(ready_only=True) == ready
        unknown = IndexEntry("b", "", "UNAVAILABLE", "not loaded")
        assert set(managed.control.index(ready_only=False)) == {*ready, unknown}


async def test_versions(tmp_path: Path) -> None:
    async with managing(two(tmp_path), LOAD_MODELS="a") as managed:
        assert managed.control.versions("a") == ["1", "2"]
        assert managed.control.versions("b") == []
        with pytest.raises(UnknownModel, match="unknown model 'c'"):
            managed.control.versions("c")


async def test_the_configuration(tmp_path: Path) -> None:
    async with managing(two(tmp_path), LOAD_MODELS="a", BATCH_MAX_DELAY="2ms") as managed:
        found = managed.control.config("a", "2")
        assert (found["name"], found["platform"], found["max_batch_size"]) == ("a", "onnxruntime_onnx", 8)
        assert found["input"] == [{"name": "x", "data_type": "TYPE_FP32", "dims": []}]
        assert found["version_policy"] == {"all": {}}
        assert found["dynamic_batching"] == {"preferred_batch_size": [4, 8], "max_queue_delay_microseconds": 2000}
        with pytest.raises(ModelNotReady, match="model 'b' is unavailable: not loaded"):
            managed.control.config("b", None)
        with pytest.raises(UnknownModel, match="model 'a' has no version 3; it has 1, 2"):
            managed.control.config("a", "3")


async def test_the_statistics(tmp_path: Path) -> None:
    async with managing(two(tmp_path), LOAD_MODELS="a") as managed:
        await managed.ask("a", "1")
        rows = managed.control.statistics(None, None)
        assert [(row["name"], row["version"], row["inference_count"]) for row in rows] == [("a", "1", 1), ("a", "2", 0)]
        assert rows == managed.control.statistics("a", None)
        [row] = managed.control.statistics("a", "1")
        assert row == rows[0]
        assert row["inference_stats"]["success"]["count"] == 1
        assert row["last_inference"] > 1_700_000_000_000
        size = (tmp_path / "a/1/model.onnx").stat().st_size
        assert row["memory_usage"] == [{"type": "CPU", "id": 0, "byte_size": size}]
        with pytest.raises(ModelNotReady):
            managed.control.statistics("b", None)
        with pytest.raises(UnknownModel):
            managed.control.statistics("a", "7")


async def test_counts_outlive_a_reload(tmp_path: Path) -> None:
    async with managing(two(tmp_path)) as managed:
        await managed.ask("b")
        scaled(tmp_path / "b/model.onnx", 5)
        await managed.control.load("b")
        await managed.ask("b")
        [row] = managed.control.statistics("b", "1")
        assert (row["inference_count"], row["inference_stats"]["success"]["count"]) == (2, 2)
