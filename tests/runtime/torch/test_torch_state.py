"""torch modules that take and return state: their sessions are the runs of the module alone."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mooring_runtime.backends.base import LoadOptions, loader
from mooring_runtime.errors import InferenceFailed
from mooring_runtime.messages import Array, TensorSpec
from mooring_runtime.repository import config
from mooring_runtime.repository.state_loading import with_state
from mooring_runtime.repository.stateful import Stateful
from tests.support import torch_models

# The first export of a process takes seconds, in which torch imports what it needs for it.
pytestmark = pytest.mark.timeout(120)

LAYERS, SIZE, HIDDEN = 2, 3, 5
STATE = {
    "state": {
        "pairs": [
            # Of the same shape, and named so that the outputs sort otherwise than the inputs.
            {"input": "cell", "output": "new_cell", "axis": 1},
            {"input": "hidden", "output": "a_hidden", "axis": 1},
        ]
    }
}


class Recurrent(torch.nn.Module):
    """`x` [n, 3] with `hidden` and `cell` [2, n, 5] to `y` [n, 5], and the next of both."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first = torch.nn.LSTMCell(SIZE, HIDDEN)
        self.second = torch.nn.LSTMCell(HIDDEN, HIDDEN)

    def forward(
        self, x: torch.Tensor, hidden: torch.Tensor, cell: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        h1, c1 = self.first(x, (hidden[0], cell[0]))
        h2, c2 = self.second(h1, (hidden[1], cell[1]))
        return h2, torch.stack([h1, h2]), torch.stack([c1, c2])


class Greedy(torch.nn.Module):
    """Writes into the state that it is given, and returns that; fails where `x` is negative, after it has written."""

    def forward(self, x: torch.Tensor, state_in: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        state_in.add_(x)
        if bool((x < 0).any()):
            raise ValueError("negative")
        return state_in * 1.0, state_in


def spec(name: str, *shape: int) -> TensorSpec:
    return TensorSpec(name, "FP32", shape)


INPUTS = (spec("x", -1, SIZE), spec("hidden", LAYERS, -1, HIDDEN), spec("cell", LAYERS, -1, HIDDEN))
OUTPUTS = (spec("y", -1, HIDDEN), spec("a_hidden", LAYERS, -1, HIDDEN), spec("new_cell", LAYERS, -1, HIDDEN))


def loaded(file: Path, model_format: str, state: Any = STATE, **more: Any) -> Stateful:
    options = LoadOptions("m", "1", 1, accelerator=False, allow_unsafe=True, sessions=True, **more)
    backend = loader(model_format)(file, options)
    found = with_state(backend, config.parse(json.dumps(state), "mooring.json").state, file.parent, options, loader)
    assert isinstance(found, Stateful)
    return found


def recurrent(directory: Path, model_format: str) -> Stateful:
    named: dict[str, Any] = {"inputs": INPUTS, "outputs": OUTPUTS}
    if model_format == "torchscript":
        return loaded(torch_models.script(Recurrent(), directory / "model.pt"), model_format, **named)
    example = (torch.zeros(2, SIZE), torch.zeros(LAYERS, 2, HIDDEN), torch.zeros(LAYERS, 2, HIDDEN))
    dim = torch.export.Dim("n")
    sizes = {"x": {0: dim}, "hidden": {1: dim}, "cell": {1: dim}}
    return loaded(torch_models.export(Recurrent(), directory / "model.pt2", example, sizes), model_format, **named)


@pytest.mark.parametrize("model_format", ["torch-export", "torchscript"])
def test_sessions_side_by_side_are_the_modules_own_runs(tmp_path: Path, model_format: str) -> None:
    backend = recurrent(tmp_path, model_format)
    assert (list(backend.metadata.inputs), backend.metadata.output_names) == (["x"], ("y",))
    assert [(pair.name, pair.shape, pair.axis) for pair in backend.schema.pairs] == [
        ("cell", (1, LAYERS, HIDDEN), 1),
        ("hidden", (1, LAYERS, HIDDEN), 1),
    ]
    sessions = 3
    random = np.random.default_rng(0)
    state = {pair.name: np.zeros((sessions, *pair.shape[1:]), np.float32) for pair in backend.schema.pairs}
    module = Recurrent().eval()
    own = [(torch.zeros(LAYERS, 1, HIDDEN), torch.zeros(LAYERS, 1, HIDDEN)) for _ in range(sessions)]
    for _ in range(4):
        x = random.standard_normal((sessions, SIZE)).astype(np.float32)
        y, cell, hidden = backend.infer({"x": x, **state}, ("y", *backend.schema.outputs))
        state = {"cell": cell, "hidden": hidden}
        for index in range(sessions):
            with torch.inference_mode():
                expected, *after = module(torch.from_numpy(x[index : index + 1]), *own[index])
            own[index] = (after[0], after[1])
            np.testing.assert_allclose(y[index], expected.numpy()[0], rtol=1e-5, atol=1e-6)
            for array, tensor in ((hidden, after[0]), (cell, after[1])):
                np.testing.assert_allclose(array[index], tensor.numpy()[:, 0], rtol=1e-5, atol=1e-6)


def test_a_module_that_writes_into_its_state_spoils_nothing(tmp_path: Path) -> None:
    file = torch_models.script(Greedy(), tmp_path / "model.pt")
    inputs, outputs = (spec("x", -1, 1), spec("state_in", -1, 1)), (spec("y", -1, 1), spec("state_out", -1, 1))
    backend = loaded(file, "torchscript", {}, inputs=inputs, outputs=outputs)

    def step(value: float, left: Array) -> Array:
        return backend.infer({"x": np.array([[value]], np.float32), "state_in": left}, ("y", "state_out"))[1]

    left = np.array([[5]], np.float32)
    with pytest.raises(InferenceFailed):
        step(-1, left)
    assert left.tolist() == [[5]], "a run that fails leaves the state as it was"
    after = step(2, left)
    assert (left.tolist(), after.tolist()) == ([[5]], [[7]])
    step(1, after)
    assert after.tolist() == [[7]], "the next step must not write into what this one left"
