"""Specs near the border of right and wrong, the same on each run: both judges must draw it at the same place."""

from collections.abc import Iterator
from random import Random
from typing import Any

from tests.support.specs import SHA256, but, stateful, uri

_URIS = (
    f"oci://registry.example:5000/a/b-c:1.0@sha256:{SHA256}",
    "oci://localhost/m",
    "pvc://cl.aim/a/b.onnx",
    "https://store.example:443/a/%20b?x=1&y=%2F",
    "s3://bu.ck/x",
    "gs://b_k/x",
    "hf://o/r@main/x",
)
_URI_PARTS = (*"/:@.%?#-_~ \n&=+A1é'\"\\$|{}^[]()*", "..", "//", "%2e", "%00", ":0", ":65535", ":65536")
_NUMBERS = ("0", "1", "2", ".5", "1.5", "5.", "12", "1000", "1024", "1025", "999999", "1000000", "007", "1e3", "1E-3")
_QUANTITY_UNITS = (
    "",
    "n",
    "u",
    "m",
    "k",
    "Ki",
    "M",
    "Mi",
    "G",
    "Gi",
    "E",
    "Ei",
    "K",
    "mi",
    "e3",
    "E-3",
    "e19",
    "e1000",
)
_DURATION_UNITS = ("us", "ms", "s", "m", "h", "ns", "d", "S", "\u00b5s", "", "m30s", "h1m")
_NOISE = (*"+-._ \n\t,eE\uff11", "0x")
_LABEL_PARTS = (*"aA0-_./ é", "example.com/", "a" * 63, "b" * 200, "app.kubernetes.io/", "name", "mooring.dev/x")


def _words(random: Random, parts: tuple[str, ...], most: int) -> str:
    return "".join(random.choices(parts, k=random.randint(0, most)))


def _uri(random: Random) -> dict[str, Any]:
    text = random.choice(_URIS)
    for _ in range(random.randint(0, 2)):
        start = random.randrange(len(text) + 1)
        text = text[:start] + random.choice(_URI_PARTS) + text[start + random.randint(0, 1) :]
    return uri(text)


def _measure(random: Random, units: tuple[str, ...]) -> str:
    """Return a number with a unit, one in four with something in it that may not belong there."""
    text = random.choice(_NUMBERS) + random.choice(units)
    if random.random() < 0.25:
        at = random.randrange(len(text) + 1)
        text = text[:at] + random.choice(_NOISE) + text[at:]
    return text


def _quantity(random: Random) -> dict[str, Any]:
    return but(resources={"cpu": _measure(random, _QUANTITY_UNITS)})


def _duration(random: Random) -> dict[str, Any]:
    return stateful(sessionTTL=_measure(random, _DURATION_UNITS))


def _label(random: Random) -> dict[str, Any]:
    return but(pod={"labels": {_words(random, _LABEL_PARTS, 3): _words(random, _LABEL_PARTS, 2)}})


def _name(random: Random) -> dict[str, Any]:
    word = _words(random, _LABEL_PARTS, 3)
    return but(pod={"priorityClassName": word}, runtime={"env": [{"name": word}]})


FAMILIES = {"uri": _uri, "quantity": _quantity, "duration": _duration, "label": _label, "name": _name}


def of(family: str, count: int) -> Iterator[dict[str, Any]]:
    """Yield `count` specs of a family, always the same ones."""
    random = Random(family)
    for _ in range(count):
        yield FAMILIES[family](random)
