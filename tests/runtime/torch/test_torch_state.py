"""torch modules that take and return state: their sessions are the runs of the module alone."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mooring_runtime.backends.base import LoadOptions, loader
from mooring_runtime.errors import InferenceFailed, ModelInvalid
from mooring_runtime.messages import Array, TensorSpec
from mooring_runtime.repository import config
from mooring_runtime.repository.state_loading import with_state
from mooring_runtime.repository.stateful import Stateful
from tests.support import torch_models
from tests.support.torch_arenas import Greedy

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


class Odd(torch.nn.Module):
    """Its next state has another datatype, or another size, as `how` says."""

    def __init__(self, how: int) -> None:
        super().__init__()
        self.how = how

    def forward(self, x: torch.Tensor, state_in: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        state = state_in + x
        if self.how == 0:
            return x, state.double()
        if self.how == 1:
            return x, torch.cat([state, state], 1)
        if self.how == 2:
            return x, torch.cat([state, state], 0)
        return x, state


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


ADDS = {"inputs": (spec("x", -1, 1), spec("state_in", -1, 1)), "outputs": (spec("y", -1, 1), spec("state_out", -1, 1))}


@pytest.mark.parametrize(
    ("how", "words"),
    [
        (0, "the model gave output 'state_out' as torch.float64, it is declared as FP32"),
        (1, "model 'm' gave the state 'state_out' in shape [1, 2]: its input 'state_in' does not take that"),
        (2, "model 'm': a run of 1 sessions gave the state 'state_out' in shape [2, 1]"),
        (3, ""),
    ],
)
def test_a_module_whose_next_state_is_another_than_declared_is_told(tmp_path: Path, how: int, words: str) -> None:
    backend = loaded(torch_models.script(Odd(how), tmp_path / "model.pt"), "torchscript", {}, **ADDS)
    feeds = {"x": np.ones((1, 1), np.float32), "state_in": np.ones((1, 1), np.float32)}
    if not words:
        assert backend.infer(feeds, ("state_out",))[0].tolist() == [[2]]
        return
    with pytest.raises(InferenceFailed, match=re.escape(words)):
        backend.infer(feeds, ("y", "state_out"))


def test_a_session_of_a_module_begins_with_the_file_that_is_named(tmp_path: Path) -> None:
    file = torch_models.script(Odd(3), tmp_path / "model.pt")
    said = {"pairs": [{"input": "state_in", "output": "state_out", "initial": "h0.npy"}]}
    np.save(tmp_path / "h0.npy", np.array([[7]], np.float32))
    [pair] = loaded(file, "torchscript", {"state": said}, **ADDS).schema.pairs
    assert pair.first(np.dtype(np.float32)).tolist() == [[7]]
    [plain] = loaded(file, "torchscript", {}, **ADDS).schema.pairs
    assert plain.first(np.dtype(np.float32)).tolist() == [[0]]
    np.save(tmp_path / "h0.npy", np.array([[7, 7]], np.float32))
    with pytest.raises(ModelInvalid, match=r"h0.npy is float32 \[1, 2\]: the state 'state_in' begins with float32"):
        loaded(file, "torchscript", {"state": said}, **ADDS)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (
            TensorSpec("state_out", "FP64", (-1, 1)),
            "input 'state_in' is FP32 [-1, 1], output 'state_out' is FP64 [-1, 1]: the datatypes of a pair must be the",
        ),
        (spec("state_out", -1, 2), "output 'state_out' is FP32 [-1, 2]: the shapes of a pair must agree"),
        (spec("left", -1, 1), "it has no output 'state_out'; its outputs are 'y', 'left'"),
    ],
)
def test_halves_of_a_pair_that_do_not_agree_are_told(tmp_path: Path, given: TensorSpec, words: str) -> None:
    file = torch_models.script(Odd(3), tmp_path / "model.pt")
    said = {"state": {"pairs": [{"input": "state_in", "output": "state_out"}]}}
    with pytest.raises(ModelInvalid, match=re.escape(words)):
        loaded(file, "torchscript", said, inputs=ADDS["inputs"], outputs=(spec("y", -1, 1), given))
