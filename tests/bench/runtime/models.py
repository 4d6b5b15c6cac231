"""The models, their requests and their right answers.

`tiny` is 16-64-64-4 (about 6 us a run on one thread), `medium` is 256, 18 times 1024, 16 (72 MB, about 3 ms: it reads
its weights from memory once a run, so a batch costs little more than one sample). `large` is 1024, 4 times 4096, 16
(218 MB), for the benchmark of autoscaling.
"""

import json
import random
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.bench.runtime import wire
from tests.bench.runtime.wire import Body

SIZES = {"tiny": (16, 64, 64, 4), "medium": (256, *[1024] * 18, 16), "large": (1024, *[4096] * 4, 16)}
INPUT, OUTPUT = "x", "y"
MAX_BATCH = 32
"""For every server that batches."""


@dataclass(frozen=True)
class Model:
    """One model: its file, how many numbers go in and come out, its requests by protocol and the right answer."""

    name: str
    file: Path
    inputs: int
    outputs: int
    bodies: Mapping[str, Body]
    answer: tuple[float, ...]

    @property
    def mebibytes(self) -> float:
        """Size of the file in MiB."""
        return self.file.stat().st_size / 2**20

    def is_right(self, numbers: list[float]) -> bool:
        """Whether an answer is this model's; servers batch differently, so the last bits differ."""
        if len(numbers) != len(self.answer):
            return False
        return all(abs(got - want) <= 1e-4 + 1e-3 * abs(want) for got, want in zip(numbers, self.answer, strict=True))


def make(name: str, folder: Path) -> Model:
    """Write `FOLDER/NAME/model.onnx`, where it is not there yet, and `mooring.json` beside it."""
    sizes = SIZES[name]
    place = folder / name
    place.mkdir(parents=True, exist_ok=True)
    file = place / "model.onnx"
    if not file.exists():
        from tests.support import models  # noqa: PLC0415 - the limits and `--help` need no onnx, which takes long

        made = models.perceptron(place / "model.onnx.new", sizes)
        made.rename(file)  # A run that was cut off leaves no half model behind.
    (place / "mooring.json").write_text(json.dumps({"batching": {"maxSize": MAX_BATCH}}))
    numbers = random.Random(name)
    values = [round(numbers.gauss(0, 1), 6) for _ in range(sizes[0])]
    bodies = {
        "json": wire.json_body(INPUT, values),
        "binary": wire.binary_body(INPUT, values, OUTPUT),
        "grpc": wire.grpc_body(name, INPUT, values),
    }
    return Model(name, file, sizes[0], sizes[-1], bodies, _answer(file, values))


def _answer(file: Path, values: list[float]) -> tuple[float, ...]:
    import numpy  # noqa: PLC0415
    import onnxruntime  # noqa: PLC0415

    session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    [found] = session.run([OUTPUT], {INPUT: numpy.array([values], numpy.float32)})
    return tuple(float(value) for value in found[0])
