"""From a request's method and target to a handler and the names in its path. Pure, but for a cache."""

from collections.abc import Mapping
from typing import Generic, NamedTuple, TypeVar
from urllib.parse import unquote_to_bytes

from mooring_runtime.errors import MalformedHttp, MethodNotAllowed, UnknownPath

Target = TypeVar("Target")

NAME = "{name}"
"""A segment of a pattern that takes any one segment, percent-decoded."""
VERSION = "{version}"
"""A segment of a pattern that takes digits only."""

_CACHED = 1024


class Found(NamedTuple, Generic[Target]):
    """A handler and what the path said."""

    handler: Target
    name: str
    version: str | None


class Router(Generic[Target]):
    """A table of `(method, pattern, handler)`; a pattern is a path such as `/v2/models/{name}/infer`."""

    def __init__(self, *routes: tuple[str, str, Target]) -> None:
        self._routes: dict[tuple[str, ...], dict[bytes, Target]] = {}
        for method, pattern, handler in routes:
            self._routes.setdefault(tuple(pattern.split("/")[1:]), {})[method.encode()] = handler
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
        for pattern, handlers in self._routes.items():
            if len(pattern) == len(segments) and all(map(_takes, pattern, segments)):
                handler = handlers.get(b"GET" if method == b"HEAD" else method)
                if handler is None:
                    raise _not_allowed(method, target, handlers)
                names = dict(zip(pattern, segments, strict=True))
                return Found(handler, names.get(NAME, ""), names.get(VERSION))
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


def _takes(pattern: str, segment: str) -> bool:
    if pattern == VERSION:
        return segment.isascii() and segment.isdigit()
    return pattern == segment or (pattern == NAME and segment != "")


def _not_allowed(method: bytes, target: bytes, handlers: Mapping[bytes, object]) -> MethodNotAllowed:
    allowed = [name.decode() for name in handlers]
    allowed += ["HEAD"] if "GET" in allowed else []
    return MethodNotAllowed(
        f"{target.decode('latin-1')} does not take {method.decode()}, only {', '.join(allowed)}", ", ".join(allowed)
    )
