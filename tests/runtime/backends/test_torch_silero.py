"""silero-vad, which finds speech in a stream: its answers through our backends are those of its own package."""

from importlib.metadata import files
from pathlib import Path

import numpy as np
import pytest
import silero_vad
import torch

from mooring_runtime.backends.base import LoadOptions, loader
from mooring_runtime.messages import Array, TensorSpec
from tests.support.torch_models import old_ways

pytestmark = pytest.mark.timeout(120)

RATE, SAMPLES, CONTEXT = 16000, 512, 64


def file(name: str) -> Path:
    [found] = [each for each in files("silero-vad") or () if each.name == name]
    return Path(str(found.locate()))


@pytest.fixture(scope="module")
def chunks() -> list[Array]:
    """Two seconds: noise, then a voice-like tone with a moving pitch, then noise again."""
    random = np.random.default_rng(0)
    time = np.arange(2 * RATE) / RATE
    pitch = 140 + 30 * np.sin(2 * np.pi * 3 * time)
    phase = 2 * np.pi * np.cumsum(pitch) / RATE
    voice = sum(np.sin(number * phase) / number for number in range(1, 20))
    signal = 0.2 * voice * ((time > 0.5) & (time < 1.5)) + 0.01 * random.standard_normal(len(time))
    usable = len(signal) // SAMPLES * SAMPLES
    return list(signal[:usable].astype(np.float32).reshape(-1, 1, SAMPLES))


def test_in_onnx_with_the_state_that_the_client_carries(chunks: list[Array]) -> None:
    backend = loader("onnx")(file("silero_vad.onnx"), LoadOptions("vad", "1", 1, accelerator=False))
    own = silero_vad.load_silero_vad(onnx=True)
    state, context = np.zeros((2, 1, 128), np.float32), np.zeros((1, CONTEXT), np.float32)
    for chunk in chunks:
        x = np.concatenate([context, chunk], axis=1)
        output, state = backend.infer({"input": x, "state": state, "sr": np.array(RATE)}, ["output", "stateN"])
        context = x[:, -CONTEXT:]
        assert output.item() == pytest.approx(own(torch.from_numpy(chunk), RATE).item(), abs=1e-6)


def test_in_torchscript_which_carries_the_state_itself(chunks: list[Array]) -> None:
    inputs = (TensorSpec("x", "FP32", (1, SAMPLES)), TensorSpec("sr", "INT64", ()))
    options = LoadOptions(
        "vad",
        "1",
        1,
        accelerator=False,
        allow_unsafe=True,
        inputs=inputs,
        outputs=(TensorSpec("speech", "FP32", (1, 1)),),
    )
    backend = loader("torchscript")(file("silero_vad.jit"), options)
    with old_ways():
        own = silero_vad.load_silero_vad()
    found = []
    with torch.no_grad():
        for chunk in chunks:
            [speech] = backend.infer({"x": chunk, "sr": np.array(RATE)}, ["speech"])
            assert speech.item() == pytest.approx(own(torch.from_numpy(chunk), RATE).item(), abs=1e-6)
            found.append(speech.item())
    assert max(found) > 4 * found[0]
