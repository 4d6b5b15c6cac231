"""Torch models whose states stay on their device. Imported only where torch is."""

from pathlib import Path
from typing import Any

import torch

from mooring_runtime.backends.torch.arrays import DTYPES
from mooring_runtime.messages import TensorSpec
from mooring_runtime.repository.stateful import Stateful
from tests.support import arenas, torch_models

LAYERS, SIZE = 2, 3
PAIRS = {
    "pairs": [
        {"input": "total_in", "output": "total_out"},
        {"input": "layers_in", "output": "layers_out", "axis": 1},
    ]
}


class Layered(torch.nn.Module):
    """`x` [n, 1] to `y` [n, 1], with the sum of all, [n, 1], and layers [2, n, 3] in half precision.

    Element by element, so that a session gives the same bits in whatever company.
    """

    def forward(
        self, x: torch.Tensor, total_in: torch.Tensor, layers_in: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        total = total_in + x
        layers = layers_in * 0.5 + x.to(torch.float16)
        return total + layers[1, :, :1].to(torch.float32), total, layers


class Greedy(torch.nn.Module):
    """Writes into the state that it is given, and returns that; fails where `x` is negative, after it has written."""

    def forward(self, x: torch.Tensor, state_in: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        state_in.add_(x)
        if bool((x < 0).any()):
            raise ValueError("negative")
        return state_in * 1.0, state_in


class Carried(torch.nn.Module):
    """`x` comes back, and so does the state."""

    def forward(self, x: torch.Tensor, state_in: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return x, state_in


class Faulty(torch.nn.Module):
    """Gives a next state that is none."""

    def __init__(self, given: str) -> None:
        super().__init__()
        self.given = given

    def forward(self, x: torch.Tensor, state_in: torch.Tensor) -> dict[str, torch.Tensor]:
        found = {"y": x}
        if self.given == "wrong":
            found["state_out"] = state_in.sum(1)
        elif self.given == "narrow":
            found["state_out"] = state_in[:, :1]
        elif self.given == "double":
            found["state_out"] = state_in.double()
        elif self.given == "whole":
            found["state_out"] = state_in.int()
        return found


def spec(name: str, datatype: str, *shape: int) -> TensorSpec:
    return TensorSpec(name, datatype, shape)


INPUTS = (spec("x", "FP32", -1, 1), spec("total_in", "FP32", -1, 1), spec("layers_in", "FP16", LAYERS, -1, SIZE))
OUTPUTS = (spec("y", "FP32", -1, 1), spec("total_out", "FP32", -1, 1), spec("layers_out", "FP16", LAYERS, -1, SIZE))


def both(
    directory: Path, model_format: str, *, slots: int = 0, most: int = 32, **more: Any
) -> tuple[Stateful, Stateful]:
    """`Layered` with an arena, of `slots` if any are named, and without."""
    if model_format == "torchscript":
        file = torch_models.script(Layered(), directory / "model.pt")
    else:
        example = (torch.zeros(2, 1), torch.zeros(2, 1), torch.zeros(LAYERS, 2, SIZE, dtype=torch.float16))
        dim = torch.export.Dim("n")
        sizes = {"x": {0: dim}, "total_in": {0: dim}, "layers_in": {1: dim}}
        file = torch_models.export(Layered(), directory / "model.pt2", example, sizes)
    return _both(file, PAIRS, slots, {"inputs": INPUTS, "outputs": OUTPUTS, "max_batch": most} | more)


def greedy(directory: Path, *, slots: int, most: int, **more: Any) -> tuple[Stateful, Stateful]:
    """`Greedy`, in the same way."""
    return _both(torch_models.script(Greedy(), directory / "model.pt"), {}, slots, _simple("FP32", 1, most) | more)


def carried(directory: Path, datatype: str, **more: Any) -> Stateful:
    """`Carried` with an arena, and a state of 5 elements."""
    assert datatype in DTYPES
    file = torch_models.script(Carried(), directory / "model.pt")
    return arenas.loaded(file, {}, **_simple(datatype, 5, 8) | more)


def faulty(directory: Path, given: str) -> tuple[Stateful, Stateful]:
    """`Faulty`, with an arena and without."""
    return _both(torch_models.script(Faulty(given), directory / "model.pt"), {}, 0, _simple("FP32", 2, 8))


def _simple(datatype: str, size: int, most: int) -> dict[str, Any]:
    return {
        "inputs": (spec("x", "FP32", -1, 1), spec("state_in", datatype, -1, size)),
        "outputs": (spec("y", "FP32", -1, 1), spec("state_out", datatype, -1, size)),
        "max_batch": most,
    }


def _both(file: Path, state: dict[str, Any], slots: int, more: dict[str, Any]) -> tuple[Stateful, Stateful]:
    plain = arenas.loaded(file, state, room=0, **more)
    room = arenas.room_for(plain, slots, more["max_batch"]) if slots else arenas.PLENTY
    return arenas.loaded(file, state, room=room, **more), plain
