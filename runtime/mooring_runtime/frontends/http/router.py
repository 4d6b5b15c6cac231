"""From a request's method and target to a handler and the names in its path. Pure, but for a cache.

A pattern is a path such as `/v2/models/{name}/infer`. A segment of it is a fixed word, or `{key}`, which takes any one
segment, percent-decoded, or `{key}:word`, which takes one that ends so. `{version}` takes digits only. Of several
patterns that take a path the first one counts.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Generic, NamedTuple, TypeVar
from urllib.parse import unquote_to_bytes

from mooring_runtime.errors import MalformedHttp, MethodNotAllowed, UnknownPath

Target = TypeVar("Target")

_SEGMENT = re.compile(r"\{(?P<key>[a-z]+)\}(?P<end>(?::[a-z]+)?)|(?P<word>[^{}]*)")
_CACHED = 1024


class Found(NamedTuple, Generic[Target]):
    """A handler and what the path said."""

    handler: Target
    name: str
    """What stood for `{name}`, or ""."""
    version: str | None
    """What stood for `{version}`."""
    names: Mapping[str, str]
    """What stood for every key."""


class _Segment(NamedTuple):
    key: str | None
    text: str
    """The word, or how a value ends."""
    any_case: bool

    def take(self, segment: str) -> str | None:
        """The value in `segment` ("" for a word), or None where this does not take it."""
        compared = segment.lower() if self.any_case else segment
        if self.key is None:
            return "" if compared == self.text else None
        if not compared.endswith(self.text) or len(segment) == len(self.text):
            return None
        value = segment[: len(segment) - len(self.text)]
        return value if self.key != "version" or (value.isascii() and value.isdigit()) else None


class Router(Generic[Target]):
    """A table of `(method, pattern, handler)`.

    `base_path` is a prefix that a path may have and need not. Below the first segment `any_case` the fixed words may be
    written in capitals too.
    """

    def __init__(self, *routes: tuple[str, str, Target], base_path: str = "", any_case: str | None = None) -> None:
        self._base = base_path.split("/")[1:]
        self._routes: dict[tuple[_Segment, ...], dict[bytes, Target]] = {}
        for method, pattern, handler in routes:
            segments = tuple(_compile(pattern, any_case))
            self._routes.setdefault(segments, {})[method.encode()] = handler
        self._cache: dict[tuple[bytes, bytes], Found[Target]] = {}

    def find(self, method: bytes, target: bytes) -> Found[Target]:
        """Raises UnknownPath, MethodNotAllowed, or MalformedHttp for a target that cannot be decoded."""
        found = self._cache.get((method, target))
        if found is None:
            found = self._look(method, target)
            if len(self._cache) >= _CACHED:  # Clients that vary the query must not fill the memory.
                self._cache.clear()
            self._cache[method, target] = found
        return found

    def _look(self, method: bytes, target: bytes) -> Found[Target]:
        segments = path_of(target)
        if self._base and segments[: len(self._base)] == self._base:
            segments = segments[len(self._base) :] or [""]
        allowed: dict[bytes, None] = {}
        for pattern, handlers in self._routes.items():
            names = _match(pattern, segments)
            if names is None:
                continue
            handler = handlers.get(b"GET" if method == b"HEAD" else method)
            if handler is not None:
                return Found(handler, names.get("name", ""), names.get("version"), names)
            allowed.update(dict.fromkeys(handlers))
        if allowed:
            raise _not_allowed(method, target, allowed)
        raise UnknownPath(f"no such path: {target.decode('latin-1')}")


def path_of(target: bytes) -> list[str]:
    """The segments of the target's path, decoded one by one, so that an encoded slash stays within its name."""
    if not target.startswith(b"/"):  # The absolute form, which proxies send: http://host/path.
        target = b"/" + target.partition(b"://")[2].partition(b"/")[2]
    path = target.partition(b"?")[0].partition(b"#")[0]
    try:
        return [unquote_to_bytes(segment).decode() for segment in path[1:].split(b"/")]
    except UnicodeDecodeError:
        raise MalformedHttp("the path is not UTF-8") from None


def _compile(pattern: str, any_case: str | None) -> Iterable[_Segment]:
    words = pattern.split("/")[1:]
    for word in words:
        match = _SEGMENT.fullmatch(word)
        assert match is not None, f"{word} in {pattern} is no segment of a pattern"
        yield _Segment(match["key"], match["word"] or match["end"] or "", words[0] == any_case)


def _match(pattern: tuple[_Segment, ...], segments: list[str]) -> dict[str, str] | None:
    if len(pattern) != len(segments):
        return None
    names = {}
    for expected, segment in zip(pattern, segments, strict=True):
        value = expected.take(segment)
        if value is None:
            return None
        if expected.key is not None:
            names[expected.key] = value
    return names


def _not_allowed(method: bytes, target: bytes, handlers: Iterable[bytes]) -> MethodNotAllowed:
    allowed = [name.decode() for name in handlers]
    allowed += ["HEAD"] if "GET" in allowed else []
    return MethodNotAllowed(
        f"{target.decode('latin-1')} does not take {method.decode()}, only {', '.join(allowed)}", ", ".join(allowed)
    )
