"""The versions of silero-vad that end-to-end tests roll out: which state each goes on from, and what it says."""

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest

from mooring_runtime.backends.base import loader
from mooring_runtime.messages import DATATYPES, Array, Tensor
from mooring_runtime.repository import ModelSource, config, load_backend, options_of
from mooring_runtime.repository.stateful import Stateful
from mooring_runtime.scheduling import RunTimes
from mooring_runtime.settings import ServeSettings, load
from tests.demo import speech
from tests.faults import ledger
from tests.faults.speech import sound
from tests.support import speech_models

pytestmark = pytest.mark.timeout(30)

State = tuple[Array, ...]
CHUNKS = [sound(ledger.word(number)) for number in range(1, 13)]


def loaded(folder: Path, files: Mapping[str, bytes]) -> Stateful:
    """The model as a server with sessions loads it."""
    folder.mkdir()
    for name, content in files.items():
        (folder / name).write_bytes(content)
    variables = {"MODEL_NAME": "speech", "MODEL_PATH": str(folder), "SESSION_PATH": "/s", "STAND_ALONE": "1"}
    settings = load(ServeSettings, {f"MOORING_{name}": text for name, text in variables.items()})
    source = ModelSource(folder, config=config.read(folder) or config.ModelConfig()).under(settings)
    chosen = options_of("speech", source, settings, accelerator=False)
    backend = load_backend(source, chosen, loader, RunTimes()).backend
    assert isinstance(backend, Stateful)
    return backend


def heard(model: Stateful, chunks: list[list[float]], state: State | None = None) -> tuple[list[float], State]:
    """What it says of each chunk, and the state after the last."""
    pairs = model.schema.pairs
    state = state or tuple(pair.first(DATATYPES[pair.datatype].dtype) for pair in pairs)
    said = []
    for chunk in chunks:
        states = {pair.name: each for pair, each in zip(pairs, state, strict=True)}
        outputs = ("output", *model.schema.outputs)
        output, *after = model.infer({"input": np.array([chunk], np.float32), **states}, outputs)
        said.append(float(output.item()))
        state = tuple(after)
    return said, state


def test_a_converted_state_goes_on_as_if_nothing_had_happened(tmp_path: Path) -> None:
    first, later = (loaded(tmp_path / each.__name__, each()) for each in (speech_models.first, speech_models.converted))
    assert first.schema.fingerprint != later.schema.fingerprint
    before, state = heard(first, CHUNKS[:5])
    kept = [Tensor(pair.name, pair.datatype, each) for pair, each in zip(first.schema.pairs, state, strict=True)]
    assert later.converter is not None
    new = later.converter(kept, first.schema.fingerprint, "1")
    assert [(each.name, each.array.shape) for each in new] == [("input.window", (1, 64)), ("memory", (1, 256))]
    after, row = heard(later, CHUNKS[5:], tuple(each.array for each in new))
    assert before + after == speech.own(CHUNKS)
    *_, (_, alone) = speech.steps(CHUNKS)
    assert row[-1].ravel().tolist() == alone.ravel().tolist()
    first.close()
    later.close()


@pytest.mark.parametrize("files", [speech_models.first, speech_models.converted])
def test_sessions_that_share_a_run_are_not_mixed(tmp_path: Path, files: Callable[[], dict[str, bytes]]) -> None:
    model = loaded(tmp_path / "model", files())
    states = [heard(model, line)[1] for line in (CHUNKS[:3], CHUNKS[3:7])]
    together = {
        pair.name: np.concatenate(each)
        for pair, each in zip(model.schema.pairs, zip(*states, strict=True), strict=True)
    }
    chunks = np.array(CHUNKS[7:9], np.float32)
    output, *after = model.infer({"input": chunks, **together}, ("output", *model.schema.outputs))
    for at, state in enumerate(states):
        [said], alone = heard(model, CHUNKS[7 + at : 8 + at], state)
        assert output[at].item() == pytest.approx(said, abs=1e-6)
        for each, one in zip(after, alone, strict=True):
            np.testing.assert_allclose(each[at : at + 1], one, atol=1e-5)
    model.close()


def test_others_read_the_same_state_or_say_that_they_cannot(tmp_path: Path) -> None:
    makers = (speech_models.first, speech_models.equal, speech_models.unreadable)
    models = [loaded(tmp_path / each.__name__, each()) for each in makers]
    first, equal, unreadable = (each.schema.fingerprint for each in models)
    assert first == equal != unreadable
    assert models[2].converter is None
    assert speech_models.first()["model.onnx"] != speech_models.equal()["model.onnx"], "it would be the same version"
    for model in models:
        model.close()
