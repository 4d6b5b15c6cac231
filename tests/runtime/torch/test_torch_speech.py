"""examples/speech: silero-vad as sessions of a server gives what its own wrapper gives, through crashes too."""

import shutil
import threading
from collections.abc import Iterator
from contextlib import closing
from importlib.metadata import files
from pathlib import Path

import pytest
import silero_vad
import torch

from examples.speech.client import RATE, Stream, chunks, voice
from tests.demo import speech
from tests.support.ports import free_port
from tests.support.runtime_process import Server

pytestmark = pytest.mark.timeout(180)

EXAMPLE = Path(__file__).parents[3] / "examples" / "speech"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The model's directory as the example's Dockerfile makes it."""
    [found] = [each for each in files("silero-vad") or () if each.name == "silero_vad.onnx"]
    directory = tmp_path_factory.mktemp("speech")
    shutil.copy(str(found.locate()), directory / "model.onnx")
    for name in ("mooring.json", "warmup.json"):
        shutil.copy(EXAMPLE / name, directory)
    return directory


@pytest.fixture(scope="module")
def sound() -> list[list[float]]:
    return [list(chunk) for chunk in chunks(voice(2.0))]


@pytest.fixture(scope="module")
def expected(sound: list[list[float]]) -> list[float]:
    """What the model's own wrapper says."""
    own = silero_vad.load_silero_vad(onnx=True)
    found = [own(torch.tensor(chunk), RATE).item() for chunk in sound]
    assert max(found) - min(found) > 0.3, "a sound in which nothing happens would show nothing"
    return found


class Place:
    """A volume and a port, on which one server after another runs."""

    def __init__(self, model: Path, volume: Path) -> None:
        self._model, self._volume = model, volume
        self._port = free_port()
        self.url = f"http://127.0.0.1:{self._port}"
        self.server = self.start()

    def start(self) -> Server:
        return Server(
            self._model, "speech", session_path=str(self._volume), stand_alone="true", http_port=str(self._port)
        )

    def crash(self) -> None:
        """kill -9, and another one in its place."""
        self.server.end()
        self.server = self.start()


@pytest.fixture
def place(model: Path, tmp_path: Path) -> Iterator[Place]:
    place = Place(model, tmp_path / "volume")
    try:
        place.server.line("ready", 60)
        yield place
    finally:
        place.server.end()


def played(place: Place, sound: list[list[float]]) -> list[float]:
    with closing(Stream(place.url)) as stream:
        return [stream.send(chunk, last=index == len(sound) - 1) for index, chunk in enumerate(sound)]


def test_a_stream_has_the_probabilities_of_the_models_own_wrapper(
    place: Place, sound: list[list[float]], expected: list[float]
) -> None:
    assert played(place, sound) == pytest.approx(expected, abs=1e-6)


def test_the_demo_holds_its_answers_against_the_same(sound: list[list[float]], expected: list[float]) -> None:
    assert speech.own(sound) == pytest.approx(expected, abs=1e-6)


def test_streams_side_by_side_are_not_mixed(place: Place, sound: list[list[float]], expected: list[float]) -> None:
    shifted = [sound, sound[7:], sound[::-1], [[0.0] * len(sound[0])] * len(sound)]
    own = []
    for each in shifted:
        wrapper = silero_vad.load_silero_vad(onnx=True)
        own.append([wrapper(torch.tensor(chunk), RATE).item() for chunk in each])
    assert own[0] == expected
    found: dict[int, list[float]] = {}

    def play(index: int) -> None:
        found[index] = played(place, shifted[index])

    threads = [threading.Thread(target=play, args=(index,)) for index in range(len(shifted))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for index, each in enumerate(own):
        assert found[index] == pytest.approx(each, abs=1e-6)


def test_a_stream_goes_on_through_kill_9(place: Place, sound: list[list[float]], expected: list[float]) -> None:
    found: list[float] = []
    crashes = [9, 23, 24, 41]  # Steps before whose answers the server is killed.
    with closing(Stream(place.url)) as stream:
        for index, chunk in enumerate(sound):
            killer = threading.Timer(0.002, place.crash)
            if index in crashes:
                killer.start()
            found.append(stream.send(chunk, last=index == len(sound) - 1))
            if index in crashes:
                killer.join()
    assert len(sound) > crashes[-1]
    assert stream.retries > 0, "no crash was ever noticed"
    assert found == pytest.approx(expected, abs=1e-6)
    assert stream.step == len(sound)
