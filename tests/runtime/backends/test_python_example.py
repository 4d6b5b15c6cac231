"""The model of examples/python-model, as the server loads it."""

from pathlib import Path

import numpy as np
import pytest

from mooring_runtime.backends.base import Backend, LoadOptions, loader
from mooring_runtime.errors import ModelRefused
from mooring_runtime.messages import Array

FILE = Path(__file__).parents[3] / "examples" / "python-model" / "model.py"


@pytest.fixture
def backend() -> Backend:
    return loader("python")(FILE, LoadOptions("hashing", "1", 1, allow_unsafe=True))


def vectors(backend: Backend, *texts: bytes) -> Array:
    return backend.infer({"text": np.array(texts, dtype=object)}, ["vector"])[0]


def test_texts_that_share_words_are_close(backend: Backend) -> None:
    red, same, other, empty = vectors(backend, b"a red car", b"The car is RED", b"nothing in common", b"")
    assert red @ same == pytest.approx(1)
    assert abs(red @ other) < 0.5
    assert not empty.any()


def test_a_text_alone_has_the_vector_that_it_has_among_others(backend: Backend) -> None:
    assert backend.metadata.max_batch > 1
    together = vectors(backend, b"one two", b"three")
    assert (together[1] == vectors(backend, b"three")[0]).all()


def test_a_text_that_is_no_text_is_the_clients_fault(backend: Backend) -> None:
    with pytest.raises(ModelRefused, match=r"a text is not UTF-8 \(byte 1\)"):
        vectors(backend, b"a\xff")
