"""How the supervisor and a worker talk: JSON messages over a socket pair, each behind its length.

Either side may `tell` something, or `ask` and get an answer. A failure that is foreseen, a RequestError, arrives as the
same error at the side that asked.
"""

import asyncio
import base64
import contextlib
import itertools
import json
import logging
import socket
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import orjson

from mooring_runtime import errors
from mooring_runtime.errors import InferenceFailed, MooringError, RequestError, Unavailable

log = logging.getLogger(__name__)

_LENGTH = 8

Answer = Callable[[Any], Awaitable[Any]]
Told = Callable[[Any], None]


class LinkLost(Unavailable):
    """The other side has gone."""


class Link:
    """One end. `answers` and `listeners` say by name what this side can be asked and told."""

    def __init__(self, answers: Mapping[str, Answer], listeners: Mapping[str, Told]) -> None:
        self._answers = answers
        self._listeners = listeners
        self._writer: asyncio.StreamWriter | None = None
        self._numbers = itertools.count()
        self._waiting: dict[int, asyncio.Future[Any]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._unsent: list[bytes] = []
        """What was said before `run` had begun."""
        self._lost = False

    async def run(self, end: socket.socket) -> None:
        """Talk over `end` until the other side goes."""
        reader, self._writer = await asyncio.open_connection(sock=end)
        self._writer.writelines(self._unsent)
        try:
            while True:
                size = int.from_bytes(await reader.readexactly(_LENGTH), "little")
                self._take(orjson.loads(await reader.readexactly(size)))
        except (asyncio.IncompleteReadError, OSError):
            return
        finally:
            self._lost = True
            for future in self._waiting.values():
                if not future.done():
                    future.set_exception(LinkLost("the other process has ended"))
            self._writer.close()

    def tell(self, what: str, value: Any = None) -> None:
        """Tell the other side; nothing comes back, and nothing happens when it has gone."""
        self._send({"tell": what, "value": value})

    async def ask(self, what: str, value: Any = None) -> Any:
        """Ask the other side. Raises the RequestError that it answers with, or LinkLost."""
        if self._lost:
            raise LinkLost("the other process has ended")
        number = next(self._numbers)
        future = self._waiting[number] = asyncio.get_running_loop().create_future()
        try:
            self._send({"ask": number, "what": what, "value": value})
            return await future
        finally:
            del self._waiting[number]

    def close(self) -> None:
        """Talk no more; `run` ends at both sides."""
        if self._writer is not None:
            self._writer.close()

    def _send(self, message: dict[str, Any]) -> None:
        if self._writer is None:
            self._unsent.append(framed(message))
        elif not self._lost:
            self._writer.write(framed(message))

    def _take(self, message: dict[str, Any]) -> None:
        if "tell" in message:
            self._listeners[message["tell"]](message["value"])
        elif "ask" in message:
            task = asyncio.ensure_future(self._answer(message))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        else:
            future = self._waiting.get(message["answer"])
            if future is None or future.done():  # Who asked has given up.
                return
            if "error" in message:
                future.set_exception(error_of(message["error"]))
            else:
                future.set_result(message["value"])

    async def _answer(self, message: dict[str, Any]) -> None:
        reply: dict[str, Any] = {"answer": message["ask"]}
        try:
            reply["value"] = await self._answers[message["what"]](message["value"])
        except RequestError as error:
            reply["error"] = error_on_wire(error)
        except Exception as error:  # Else the other side would wait for ever.
            log.exception("cannot answer %s", message["what"])
            reply["error"] = error_on_wire(_fault(error))
        try:
            self._send(reply)
        except Exception as error:
            log.exception("cannot send the answer to %s", message["what"])
            self._send({"answer": message["ask"], "error": error_on_wire(_fault(error))})


def _fault(error: Exception) -> InferenceFailed:
    return InferenceFailed(f"a fault of the server: {type(error).__name__}: {error}")


def framed(message: dict[str, Any]) -> bytes:
    """A message as bytes. Half surrogates in its texts, which a file's name may bring, become question marks.

    Raises TypeError or ValueError for what is no JSON.
    """
    try:
        text = orjson.dumps(message)
    except TypeError:
        text = json.dumps(message, ensure_ascii=False, allow_nan=False).encode(errors="replace")
    return len(text).to_bytes(_LENGTH, "little") + text


def error_on_wire(error: MooringError) -> list[str]:
    """An error's class and text."""
    return [type(error).__name__, str(error)]


def error_of(wire: list[str]) -> MooringError:
    """The error that the other side raised."""
    name, text = wire
    made = InferenceFailed(text)
    with contextlib.suppress(AttributeError, TypeError):
        cls = getattr(errors, name)
        made = cls(text) if issubclass(cls, MooringError) else made
    return made


def files_on_wire(files: Mapping[str, bytes] | None) -> dict[str, str] | None:
    """Files by name, their bytes as text."""
    return None if files is None else {name: base64.b64encode(data).decode() for name, data in files.items()}


def files_of(wire: Mapping[str, str] | None) -> dict[str, bytes] | None:
    """The files that `files_on_wire` was given."""
    return None if wire is None else {name: base64.b64decode(text) for name, text in wire.items()}
