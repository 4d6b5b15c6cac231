"""A model as the clients of sessions see it: what a word of theirs is as its input, and what its replies show."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from tests.faults import ledger
from tests.faults.ledger import Page

Elements = Sequence[int] | Sequence[float]


class Shown(NamedTuple):
    """What one reply shows."""

    page: Page
    heard: tuple[float, ...] = ()
    """What a model that is not the ledger says; `speech` then tells which page that proves."""


@dataclass(frozen=True)
class Subject:
    """What is asked.

    Attributes:
        name: the model's, and that of its service.
        title: in tables.
        tensor: its one input.
        datatype: of that, by its name in V2.
        sent: a word as the elements of that input, whose shape is [1, their number].
        shown: what its outputs, flat lists by their names, show; KeyError: one is missing.
        asked: the outputs that a request names; none: those that the model gives by itself.
    """

    name: str
    title: str
    tensor: str
    datatype: str
    sent: Callable[[int], Elements]
    shown: Callable[[Mapping[str, Elements]], Shown]
    asked: tuple[str, ...] = ()


def _page(outputs: Mapping[str, Elements]) -> Shown:
    count, hashes, total, recent = (tuple(map(int, outputs[name])) for name in ("count", "hash", "total", "recent"))
    return Shown(Page(count[0], hashes, total[0], recent))


LEDGER = Subject(ledger.NAME, "the checker's model", "word", "INT64", lambda word: (word,), _page)
