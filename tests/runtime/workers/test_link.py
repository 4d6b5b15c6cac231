"""Both ends of a link in one loop, over a real socket pair."""

import asyncio
import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import pytest

from mooring_runtime.errors import InferenceFailed, LoadFailed, QueueFull
from mooring_runtime.workers.link import Answer, Link, LinkLost, Told, error_of, files_of, files_on_wire


@asynccontextmanager
async def pair(
    answers: Mapping[str, Answer], listeners: Mapping[str, Told] | None = None
) -> AsyncIterator[tuple[Link, Link]]:
    """An end that asks, and one that answers."""
    asking, answering = Link({}, {}), Link(answers, listeners or {})
    ends = socket.socketpair()
    tasks = []
    for link, end in zip((asking, answering), ends, strict=True):
        end.setblocking(False)
        tasks.append(asyncio.ensure_future(link.run(end)))
    try:
        yield asking, answering
    finally:
        asking.close()
        await asyncio.wait(tasks)


async def double(value: Any) -> Any:
    return 2 * value


async def test_questions_are_answered_whichever_comes_first() -> None:
    gate = asyncio.Event()

    async def late(value: Any) -> Any:
        await gate.wait()
        return value

    async with pair({"late": late, "double": double}) as (asking, _):
        waiting = asyncio.ensure_future(asking.ask("late", "a"))
        assert await asking.ask("double", 21) == 42
        gate.set()
        assert await waiting == "a"


async def test_large_values_go_through() -> None:
    async with pair({"double": double}) as (asking, _):
        assert await asking.ask("double", "x" * 3_000_000) == "x" * 6_000_000


async def test_what_is_told_arrives_in_order_also_before_the_link_stands() -> None:
    told: list[int] = []
    done = asyncio.Event()
    first, second = Link({}, {}), Link({}, {"number": told.append, "done": lambda _: done.set()})
    first.tell("number", 1)
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    theirs.setblocking(False)
    tasks = [asyncio.ensure_future(first.run(ours)), asyncio.ensure_future(second.run(theirs))]
    first.tell("number", 2)
    first.tell("done")
    await done.wait()
    assert told == [1, 2]
    first.close()
    await asyncio.wait(tasks)


async def test_a_foreseen_error_is_the_same_at_the_other_end() -> None:
    async def refuse(_: Any) -> Any:
        raise LoadFailed("failed to load 'm': no")

    async def break_(_: Any) -> Any:
        raise ZeroDivisionError("x")

    async with pair({"refuse": refuse, "break": break_}) as (asking, _):
        with pytest.raises(LoadFailed, match="failed to load 'm': no"):
            await asking.ask("refuse")
        with pytest.raises(InferenceFailed, match="a fault of the server: ZeroDivisionError: x"):
            await asking.ask("break")


async def test_an_answer_that_cannot_be_sent_as_it_is_still_is_one() -> None:
    async def name(_: Any) -> Any:
        return ["caf\udce9"]  # As Python has a file's name that is not UTF-8.

    async def refuse(_: Any) -> Any:
        raise LoadFailed("no caf\udce9")

    async def no_json(value: Any) -> Any:
        return object() if value is None else [float(value), "\udce9"]

    async with pair({"name": name, "refuse": refuse, "no JSON": no_json, "double": double}) as (asking, _):
        assert await asyncio.wait_for(asking.ask("name"), 1) == ["caf?"]
        with pytest.raises(LoadFailed, match=r"^no caf"):
            await asyncio.wait_for(asking.ask("refuse"), 1)
        for value in (None, "nan"):
            with pytest.raises(InferenceFailed, match=r"a fault of the server: (Type|Value)Error: .* JSON "):
                await asyncio.wait_for(asking.ask("no JSON", value), 1)
        assert await asking.ask("double", 1) == 2, "the link still stands"


async def test_who_waits_hears_that_the_other_has_gone() -> None:
    async def never(_: Any) -> Any:
        await asyncio.Event().wait()

    async with pair({"never": never, "double": double}) as (asking, answering):
        waiting = asyncio.ensure_future(asking.ask("never"))
        await asking.ask("double", 1)
        answering.close()
        with pytest.raises(LinkLost, match="the other process has ended"):
            await waiting
        with pytest.raises(LinkLost):
            await asking.ask("never")


def test_an_error_of_another_kind_is_still_one() -> None:
    assert isinstance(error_of(["QueueFull", "x"]), QueueFull)
    for name in ("Mapping", "annotations", "NoSuch", "MethodNotAllowed"):
        assert str(error_of([name, "x"])) == "x"


def test_files_keep_their_bytes() -> None:
    files = {"1/model.onnx": bytes(range(256)), "a": b""}
    assert files_of(files_on_wire(files)) == files
    assert files_of(files_on_wire(None)) is None
