"""Models that are code: only where that is allowed, with what mooring.json says of them, and new after a load."""

from pathlib import Path

import pytest

from mooring_runtime.errors import LoadFailed, UnsafeFormat
from tests.support.repositories import Managed, managing, scaled, write

MODEL = """
from .factor import FACTOR

class Model:
    def predict(self, inputs):
        return {"y": inputs["x"] * FACTOR}
"""
SAID = {
    "inputs": [{"name": "x", "datatype": "FP32", "shape": [-1]}],
    "outputs": [{"name": "y", "datatype": "FP32", "shape": [-1]}],
}


def python(root: Path, factor: int) -> Path:
    write(root / "p/mooring.json", SAID)
    (root / "p/1").mkdir(exist_ok=True)
    (root / "p/1/model.py").write_text(MODEL)
    (root / "p/1/factor.py").write_text(f"import numpy as np\nFACTOR = np.float32({factor})\n")
    return root


async def test_a_model_in_python_beside_others(tmp_path: Path) -> None:
    scaled(tmp_path / "o/model.onnx", 5)
    async with managing(python(tmp_path, 2), ALLOW_UNSAFE_FORMATS="true") as managed:
        assert (await managed.ask("p"), await managed.ask("o")) == (2, 5)
        assert managed.page.loads.now["p", "1"].format == "python"
        assert managed.control.config("p", None)["backend"] == "python"
        python(tmp_path, 30)
        await managed.control.load("p")
        assert await managed.ask("p") == 30


async def test_it_is_refused_until_it_is_allowed(tmp_path: Path) -> None:
    scaled(tmp_path / "o/model.onnx", 5)
    async with managing(python(tmp_path, 2)) as managed:
        assert managed.states() == {"o/1": "READY", "p/1": "UNAVAILABLE"}
        words = "model.py is Python code: loading it would execute code .* set MOORING_ALLOW_UNSAFE_FORMATS=true"
        with pytest.raises(LoadFailed, match=words):
            await managed.control.load("p")
    (tmp_path / "o/model.onnx").unlink()
    (tmp_path / "o").rmdir()
    with pytest.raises(UnsafeFormat, match=words):
        await Managed(tmp_path).manager.start()
