"""Sessions that are read together: none suffers from another."""

import asyncio
import logging

import pytest

from mooring_runtime.sessions.copies import Copy, Kept, Phase
from mooring_runtime.sessions.keys import Key
from mooring_runtime.sessions.reader import Reader

KEPT = Kept(Copy(Phase.HELD, 1))


@pytest.mark.parametrize("closed", [False, True])
async def test_one_that_raises_when_it_is_told_does_not_keep_the_others_waiting(
    caplog: pytest.LogCaptureFixture, closed: bool
) -> None:
    reader = Reader(lambda key: KEPT)
    told: asyncio.Future[Kept | BaseException] = asyncio.get_running_loop().create_future()

    def broken(_: Kept | BaseException) -> None:
        raise ValueError("broken")

    reader.read(Key("m", "first"), broken)
    reader.read(Key("m", "second"), told.set_result)
    if closed:
        reader.close()
    with caplog.at_level(logging.CRITICAL):
        outcome = await asyncio.wait_for(told, 1)
    assert isinstance(outcome, RuntimeError) if closed else outcome == KEPT
    reader.close()
