"""One real server with a repository of small models, for the unmodified clients of other servers."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import models
from tests.support.repositories import write
from tests.support.runtime_process import Server, serving

SPEAKER = '''"""Says what it was told, as often as it was told."""

import numpy as np


class Model:
    """`text_input` and `times` to as many answers."""

    inputs = {"text_input": ("BYTES", [1]), "times": ("INT32", [1])}
    outputs = {"text_output": ("BYTES", [1])}

    def predict(self, inputs, parameters):
        end = parameters.get("end", "").encode()
        for number in range(inputs["times"].item()):
            yield {"text_output": np.array([inputs["text_input"].item() + b" %d" % number + end], dtype=object)}
'''


TEXT = '''"""Gives back what it gets: ONNX would take no bytes but UTF-8."""


class Model:
    """`in_BYTES` to `out_BYTES`."""

    inputs = {"in_BYTES": ("BYTES", [-1])}
    outputs = {"out_BYTES": ("BYTES", [-1])}
    batch = True

    def predict(self, inputs):
        return {"out_BYTES": inputs["in_BYTES"]}
'''


@pytest.fixture(scope="session")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server that is ready. Models:

    - `echo`: tensors of every datatype but BF16, [batch, n]; `text`: BYTES alone; `image`: UINT8 alone
    - `scores`: FP32 `in_FP32` to `out_FP32`, [batch, n], with labels
    - `table`: takes 0 to 3 and fails for any other index; `slow`: takes its time
    - `speaker`: any number of answers
    - `spare`: for loading and unloading
    """
    root = tmp_path_factory.mktemp("house")
    for name in ("echo", "text", "image", "scores", "table", "slow", "speaker", "spare"):
        (root / name / "1").mkdir(parents=True)
    models.echo(root / "echo/1/model.onnx", models.ALL_BUT_BF16)
    (root / "text/1/model.py").write_text(TEXT)
    models.echo(root / "image/1/model.onnx", ("UINT8",), ("batch", "n"))
    models.echo(root / "scores/1/model.onnx", ("FP32",))
    write(root / "scores/mooring.json", {"labels": {"out_FP32": ["cat", "dog"]}})
    models.gather(root / "table/1/model.onnx")
    models.slow(root / "slow/1/model.onnx")
    (root / "speaker/1/model.py").write_text(SPEAKER)
    models.scaled(root / "spare/1/model.onnx", 2.0)
    variables = {
        "model_path": "",
        "model_repository": str(root),
        "model_control": "explicit",
        "allow_unsafe_formats": "true",
        "version_labels": "scores:stable=1",
        "default_model": "scores",
        "trace_file": str(root / "traces.json"),
        "max_body_bytes": "256Mi",
    }
    with serving(Path(), "", **variables) as server:
        yield server
