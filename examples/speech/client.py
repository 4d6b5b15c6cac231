"""Tell where somebody speaks in a recording, while it plays, by the silero-vad model behind a URL.

    python client.py --url http://localhost:8000 [FILE.wav]         16 kHz, mono, 16 bit; left out: a made-up voice

The recording is one session: each chunk of 512 samples is a step with a number. Whatever goes wrong on the way, the
same step is sent again with the same number. If the server had applied it, it answers what it answered then; if not,
it applies it now. So the state never misses a chunk and never hears one twice, and the client need not know which.
"""

# ruff: noqa: T201 - a script prints

import argparse
import array
import http.client
import json
import math
import random
import sys
import time
import uuid
import wave
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from typing import Any
from urllib.parse import urlsplit

RATE, SAMPLES = 16000, 512
"""What the model was made for: samples a second, and samples of a chunk, which are 32 ms."""
AGAIN = (502, 503, 504)
"""Statuses after which the same step may be sent again: with its number it always may."""


class Stream:
    """One session of a model behind `url`; `patience` is how many seconds a step may take, failures included.

    `tell` is given a line when a step gets no answer, and one when it has it after all.
    """

    def __init__(
        self, url: str, model: str = "speech", patience: float = 60.0, tell: Callable[[str], None] = print
    ) -> None:
        self._tell = tell
        self._where = urlsplit(url)
        self._path = f"{self._where.path.rstrip('/')}/v2/models/{model}/infer"
        self._patience = patience
        self._connection: http.client.HTTPConnection | None = None
        self.session = uuid.uuid4().hex
        self.step = 0
        """The last one that was answered."""
        self.retries = 0

    def send(self, samples: Sequence[float], *, last: bool = False) -> float:
        """The probability that the next `SAMPLES` samples hold speech, from 0 to 1; `last` ends the session."""
        number = self.step + 1
        tensor = {"name": "input", "datatype": "FP32", "shape": [1, len(samples)], "data": list(samples)}
        about = {
            "sequence_id": self.session,
            "sequence_start": number == 1,
            "sequence_end": last,
            "sequence_step": number,
        }
        body = json.dumps({"inputs": [tensor], "parameters": about}).encode()
        began = time.monotonic()
        failure, tries = "", 0
        while True:
            try:
                status, answer = self._post(body)
            except (OSError, http.client.HTTPException, ValueError) as error:  # ValueError: a body cut in two.
                self.close()
                status, answer = 0, {"error": f"{type(error).__name__}: {error}"}
            if status == 200:
                if tries:
                    waited = time.monotonic() - began
                    self._tell(f"step {number} is answered at try {tries + 1}, {waited:.1f} s after the first")
                self.step = number
                return float(answer["outputs"][0]["data"][0])
            before, failure = failure, f"{status or 'no answer'} {answer.get('cause', '')}: {answer.get('error')}"
            if (status and status not in AGAIN) or time.monotonic() > began + self._patience:
                raise RuntimeError(f"step {number} of session {self.session}: {failure}")
            if failure != before:
                self._tell(f"step {number} is sent again: {failure}")
            tries += 1
            self.retries += 1
            time.sleep(0.1)

    def _post(self, body: bytes) -> tuple[int, dict[str, Any]]:
        if self._connection is None:
            kind = http.client.HTTPSConnection if self._where.scheme == "https" else http.client.HTTPConnection
            self._connection = kind(self._where.netloc, timeout=10)
        self._connection.request("POST", self._path, body, {"Content-Type": "application/json"})
        response = self._connection.getresponse()
        found = json.loads(response.read())
        return response.status, found if isinstance(found, dict) else {}

    def close(self) -> None:
        """Close the connection; the next step makes another."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def chunks(signal: Sequence[float]) -> Iterator[Sequence[float]]:
    """The whole chunks of a signal."""
    for begin in range(0, len(signal) - SAMPLES + 1, SAMPLES):
        yield signal[begin : begin + SAMPLES]


def read(file: str) -> list[float]:
    """The samples of a recording, from -1 to 1."""
    with wave.open(file) as recording:
        if (recording.getframerate(), recording.getnchannels(), recording.getsampwidth()) != (RATE, 1, 2):
            raise SystemExit(f"{file}: it must have {RATE} samples a second, one channel and 16 bits")
        samples = array.array("h", recording.readframes(recording.getnframes()))
    if sys.byteorder == "big":
        samples.byteswap()
    return [sample / 32768 for sample in samples]


def voice(seconds: float = 3.0, seed: int = 0) -> list[float]:
    """Noise, in its middle third a voice-like tone: the harmonics of a moving pitch through the formants of an "a"."""
    chance = random.Random(seed)
    signal, phase = [], 0.0
    for index in range(int(seconds * RATE)):
        now = index / RATE
        pitch = 140 + 30 * math.sin(2 * math.pi * 3 * now)
        phase += 2 * math.pi * pitch / RATE
        sample = 0.01 * chance.gauss(0, 1)
        if 1 / 3 < now / seconds < 2 / 3:
            for number in range(1, 20):
                tone = number * pitch
                weight = 0.1 + sum(math.exp(-(((tone - peak) / 150) ** 2)) for peak in (700, 1200, 2600))
                sample += 0.1 * weight * math.sin(number * phase)
        signal.append(sample)
    return signal


def main() -> int:
    """Print a line for each chunk, with a bar as long as the probability."""
    parser = argparse.ArgumentParser(description="Tell where somebody speaks, by a silero-vad model that is served.")
    parser.add_argument("--url", default="http://localhost:8000", help="where the model is served")
    parser.add_argument("--model", default="speech", help="its name there")
    parser.add_argument("file", metavar="FILE.wav", nargs="?", help="a recording; left out: a made-up voice")
    options = parser.parse_args()
    parts = list(chunks(read(options.file) if options.file else voice()))
    with closing(Stream(options.url, options.model)) as stream:
        for index, part in enumerate(parts):
            speech = stream.send(part, last=index == len(parts) - 1)
            print(f"{index * SAMPLES / RATE:7.3f} s  {speech:.3f}  {'#' * round(40 * speech)}", flush=True)
        print(f"session {stream.session}: {stream.step} steps, {stream.retries} sent again")
    return 0


if __name__ == "__main__":
    sys.exit(main())
