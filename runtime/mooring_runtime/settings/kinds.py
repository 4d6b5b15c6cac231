"""The kinds of value that a variable can have: how its text is read and what a person is told it may be."""

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar
from urllib.parse import unquote, urlsplit

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Kind(Generic[T]):
    """`parse` makes a value of a variable's text, or raises ValueError; `allowed` tells a person what it takes."""

    parse: Callable[[str], T]
    allowed: str
    show: Callable[[str], str] = repr
    """How a wrong value is quoted; a URI is shown without its credentials."""


def whole(low: int, high: int, note: str = "") -> Kind[int]:
    """A whole number in [low, high]."""

    def parse(text: str) -> int:
        if not re.fullmatch(r"-?[0-9]{1,19}", text) or not low <= (value := int(text)) <= high:
            raise ValueError
        return value

    return Kind(parse, f"a whole number from {low} to {high}{note}")


def port() -> Kind[int]:
    """A TCP port; 0 takes any free one, which the log then tells."""
    return whole(0, 65535, " (0: any free port, told in the log)")


def seconds(low: float, high: float) -> Kind[float]:
    """A number of seconds in [low, high], with or without a fraction."""

    def parse(text: str) -> float:
        value = float(text)
        if not math.isfinite(value) or not low <= value <= high:
            raise ValueError
        return value

    return Kind(parse, f"a number of seconds from {low:g} to {high:g}")


_DURATIONS = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}


def duration() -> Kind[float]:
    """A time as Kubernetes users write it, `2ms` or `500us`; in seconds."""

    def parse(text: str) -> float:
        if text == "0":
            return 0.0
        match = re.fullmatch(r"([0-9]{1,9}(?:\.[0-9]{1,9})?)(us|ms|s|m|h)", text)
        if match is None:
            raise ValueError
        return float(match[1]) * _DURATIONS[match[2]]

    return Kind(parse, "a number with a unit (us, ms, s, m, h), as in 500us, 2ms or 1.5s")


def target() -> Kind[float]:
    """A time above 0 that something should keep to: a duration, or a number of seconds; in seconds."""
    text_of = duration()

    def parse(text: str) -> float:
        value = float(text) if re.fullmatch(r"[0-9]{1,9}(?:\.[0-9]{1,9})?", text) else text_of.parse(text)
        if value <= 0:
            raise ValueError
        return round(value, 9)  # 9 * 0.001 is no 0.009, and the metrics show it as a bound.

    return Kind(parse, "a time above 0: seconds, or a number with a unit (us, ms, s, m, h), as in 0.08 or 80ms")


def counts(low: int, high: int) -> Kind[tuple[int, ...]]:
    """Whole numbers in [low, high] with commas between them, in rising order."""
    number = whole(low, high)

    def parse(text: str) -> tuple[int, ...]:
        found = [number.parse(part.strip()) for part in text.split(",")]
        if found != sorted(set(found)):
            raise ValueError
        return tuple(found)

    return Kind(parse, f"whole numbers from {low} to {high} that rise, with commas between them, as in 8,16,32")


def names() -> Kind[tuple[str, ...]]:
    """Names of models with commas between them."""
    name = model_name()

    def parse(text: str) -> tuple[str, ...]:
        return tuple(dict.fromkeys(name.parse(part.strip()) for part in text.split(",")))

    return Kind(parse, f"names with commas between them, each {name.allowed}")


_UNITS = {"": 1, "Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40}


def size(*, none: bool = False) -> Kind[int]:
    """A number of bytes: `67108864` or, as Kubernetes writes it, `64Mi`; with `none` also 0."""

    def parse(text: str) -> int:
        match = re.fullmatch(r"([0-9]{1,18})(Ki|Mi|Gi|Ti|)B?", text)
        if match is None or not ((value := int(match[1]) * _UNITS[match[2]]) or none):
            raise ValueError
        return value

    return Kind(
        parse, f"a number of bytes{'' if none else ' above 0'}, as in {'0' if none else '67108864'}, 64Mi or 2Gi"
    )


def flag() -> Kind[bool]:
    """A switch."""
    words = {"1": True, "true": True, "yes": True, "on": True, "0": False, "false": False, "no": False, "off": False}

    def parse(text: str) -> bool:
        try:
            return words[text.lower()]
        except KeyError:
            raise ValueError from None

    return Kind(parse, "true or false")


def choice(*options: str) -> Kind[str]:
    """One of the words given."""

    def parse(text: str) -> str:
        if text not in options:
            raise ValueError
        return text

    return Kind(parse, "one of " + ", ".join(options))


def model_name() -> Kind[str]:
    """The name in /v2/models/NAME: no slash and no control character."""

    def parse(text: str) -> str:
        if not re.fullmatch(r"[^/\x00-\x20\x7f]{1,253}", text):
            raise ValueError
        text.encode()  # Bytes of a variable that are no UTF-8 come as half surrogates, which no answer can carry.
        return text

    return Kind(parse, "1 to 253 characters without slashes, spaces and control characters")


def object_name() -> Kind[str]:
    """The name of an object in Kubernetes, or of a namespace."""

    def parse(text: str) -> str:
        if not re.fullmatch(r"[a-z0-9](?:[-a-z0-9.]{0,251}[a-z0-9])?", text):
            raise ValueError
        return text

    return Kind(parse, "small letters, digits, '-' and '.', at most 253, beginning and ending with a letter or digit")


def base_path() -> Kind[str]:
    """A prefix of paths: `/ml/prod`."""

    def parse(text: str) -> str:
        if not re.fullmatch(r"(/[^/?#%\x00-\x20\x7f]+)+", text):
            raise ValueError
        return text

    return Kind(parse, "a path that begins with a slash and does not end with one, as in /ml/prod")


def version_labels() -> Kind[Mapping[tuple[str, str], str]]:
    """Labels of versions: `MODEL:LABEL=VERSION` with commas between them; (model, label) to version."""
    name = model_name()

    def parse(text: str) -> Mapping[tuple[str, str], str]:
        found: dict[tuple[str, str], str] = {}
        for part in text.split(","):
            match = re.fullmatch(r"([^:=]+):([^:=/\s]+)=([1-9][0-9]{0,18})", part.strip())
            if match is None or (key := (name.parse(match[1]), match[2])) in found:
                raise ValueError
            found[key] = match[3]
        return found

    return Kind(parse, "MODEL:LABEL=VERSION with commas between them, as in sentiment:stable=3,sentiment:canary=4")


def sha256() -> Kind[str]:
    """A SHA-256 digest as 64 hexadecimal digits; `sha256:` before it is taken off, capitals become small."""

    def parse(text: str) -> str:
        digest = text.removeprefix("sha256:").lower()
        if not re.fullmatch(r"[0-9a-f]{64}", digest):
            raise ValueError
        return digest

    return Kind(parse, "64 hexadecimal digits")


def path() -> Kind[Path]:
    """A path of the file system."""

    def parse(text: str) -> Path:
        if "\0" in text:
            raise ValueError
        return Path(text)

    return Kind(parse, "a path")


def host() -> Kind[str]:
    """An address to listen on; empty means every address of the pod, IPv4 and IPv6."""
    return Kind(str, "an IPv4 or IPv6 address, or nothing for every address")


def version() -> Kind[str]:
    """A version of the state's meaning, as the custom resource takes it."""

    def parse(text: str) -> str:
        if not re.fullmatch("[A-Za-z0-9](?:[-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?", text):
            raise ValueError
        return text

    return Kind(parse, "letters, digits, '-', '_' and '.', at most 63, beginning and ending with a letter or digit")


def converter() -> Kind[str]:
    """The name of a file beside the model that converts states."""

    def parse(text: str) -> str:
        if not re.fullmatch(r"[A-Za-z0-9_][-A-Za-z0-9_.]{0,249}\.(?:onnx|py)", text):
            raise ValueError
        return text

    return Kind(parse, "the name of an .onnx or a .py file, without a folder")


_PEER = re.compile(r"https?://[^/?#@]*\{ordinal\}[^/?#@]*")


def peer_address() -> Kind[str]:
    """An address with `{ordinal}` in it."""

    def parse(text: str) -> str:
        text = text.removesuffix("/")
        if not _PEER.fullmatch(text):
            raise ValueError
        return text

    return Kind(parse, "http:// or https://, a host with {ordinal} in it, and a port")


def redact(uri: str) -> str:
    """The URI without user, password, query and fragment: what may stand in a log or a status."""
    parts = urlsplit(uri)
    name = parts.hostname or ""
    name = f"[{name}]" if ":" in name else name
    try:
        port = f":{parts.port}" if parts.port is not None else ""
    except ValueError:
        port = ""
    return f"{parts.scheme}://{name}{port}{parts.path}"


def file_name(uri: str) -> str:
    """The last segment of the URI's path, decoded: the name that the file keeps on disk.

    Raises ValueError where it would not be a plain, visible file name (`..%2f..%2fetc` decodes to a path).
    """
    name = unquote(urlsplit(uri).path.rpartition("/")[2], errors="strict")
    if not re.fullmatch(r"[^./\x00-\x1f\x7f][^/\x00-\x1f\x7f]{0,199}", name):
        raise ValueError("the last segment of the path is no file name")
    return name


def https_uri() -> Kind[str]:
    """An `https://` address whose path ends in a file name."""

    def parse(text: str) -> str:
        parts = urlsplit(text)
        if parts.scheme != "https" or not parts.hostname or parts.port == 0 or parts.username is not None:
            raise ValueError
        if re.search(r"[\x00-\x20\x7f]", text):
            raise ValueError
        file_name(text)
        return text

    def show(text: str) -> str:
        try:
            return repr(redact(text)) if "://" in text else "not a URI"
        except ValueError:
            return "not a URI"

    return Kind(parse, "an https:// address without user and password, whose path ends in a file name", show)
