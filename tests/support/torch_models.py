"""Small torch models, made when a test needs one. Imported only where torch is."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch


class Perceptron(torch.nn.Module):
    """`x` [n, 4] to `scores` [n, 3] and `total` [n]; the same weights each time."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.hidden = torch.nn.Linear(4, 16)
        self.last = torch.nn.Linear(16, 3)

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        scores = self.last(torch.relu(self.hidden(x)))
        return {"scores": scores, "total": scores.sum(1)}


def export(module: Any, file: Path, args: tuple[Any, ...], sizes: Any = None, kwargs: Any = None) -> Path:
    """Write a program of torch.export; `sizes` are its dynamic shapes."""
    program = torch.export.export(module.eval(), args, kwargs, dynamic_shapes=sizes)
    torch.export.save(program, str(file))
    return file


def export_perceptron(file: Path) -> Path:
    """The perceptron with a free first size."""
    return export(Perceptron(), file, (torch.zeros(2, 4),), {"x": {0: torch.export.Dim("n")}})


@contextmanager
def old_ways() -> Iterator[None]:
    """TorchScript is deprecated, and users have files of it."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", r"`torch\.jit\..*` is deprecated", FutureWarning)
        yield


def script(module: Any, file: Path) -> Path:
    """Write TorchScript."""
    with old_ways():
        torch.jit.save(torch.jit.script(module.eval()), str(file))
    return file


def to_onnx(program: Path, file: Path) -> Path:
    """Write the ONNX export of a program, under the names that the program has in the server."""
    exported = torch.export.load(str(program))
    outputs = list(exported.call_spec.out_spec.context)
    torch.onnx.export(exported, (), str(file), output_names=outputs, external_data=False, verbose=False)
    return file
