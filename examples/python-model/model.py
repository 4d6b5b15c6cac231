"""Turns texts into vectors by feature hashing: texts that share words get vectors that point the same way."""

import re
import zlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mooring_runtime.backends.python import Context
from mooring_runtime.errors import ModelRefused

WORD = re.compile(r"\w+")
SIZE = 256


class Model:
    """`text` [n] to `vector` [n, 256], each of length 1, or 0 for a text without words."""

    inputs = {"text": ("BYTES", [-1])}
    outputs = {"vector": ("FP32", [-1, SIZE])}
    batch = True

    def load(self, context: Context) -> None:
        """Read the words that say nothing of a text."""
        self.ignored = set((context.directory / "ignored.txt").read_text().split())

    def predict(self, inputs: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """Each word adds or takes 1 at a place that its checksum names."""
        vectors = np.zeros((len(inputs["text"]), SIZE), np.float32)
        for row, text in zip(vectors, inputs["text"], strict=True):
            try:
                words = WORD.findall(text.decode().lower())
            except UnicodeDecodeError as error:
                raise ModelRefused(f"a text is not UTF-8 (byte {error.start})") from None
            for word in words:
                if word not in self.ignored:
                    place, sign = divmod(zlib.crc32(word.encode()), 2)
                    row[place % SIZE] += 1 if sign else -1
        lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
        return {"vector": vectors / np.where(lengths, lengths, np.float32(1))}
