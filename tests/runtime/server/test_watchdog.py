import asyncio
import threading

from hypothesis import given
from hypothesis import strategies as st

from mooring_runtime.server.watchdog import Stillness, Watchdog


@given(st.lists(st.booleans(), max_size=50))
def test_beats_are_counted_since_the_last_move(moves: list[bool]) -> None:
    stillness, number, expected = Stillness(), 0, 0
    stillness.see(number)
    for moved in moves:
        number += moved
        expected = 0 if moved else expected + 1
        assert stillness.see(number) == expected


async def test_a_run_that_does_not_end_is_told_once_and_its_end_too() -> None:
    said: list[str | None] = []
    told = asyncio.Event()
    seconds = 0.0

    def tell(reason: str | None) -> None:
        said.append(reason)
        told.set()

    dog = Watchdog(0.02, lambda: [("a", 0.0), ("b", seconds)], tell, said.append)
    dog.start()
    try:
        seconds = 5.0
        await told.wait()
        told.clear()
        seconds = 0.0
        await told.wait()
    finally:
        dog.stop()
    assert said == ["model 'b' has been in one run for longer than MOORING_RUN_TIMEOUT, 0.02 s", None]


async def test_a_loop_that_stands_still_ends_the_process() -> None:
    ended = threading.Event()
    reasons: list[str] = []

    def end(reason: str) -> None:
        reasons.append(reason)
        ended.set()

    dog = Watchdog(0.02, lambda: [], lambda _: None, end)
    dog.start()
    assert ended.wait(1)  # Blocks the loop, as a model would.
    dog.stop()
    assert reasons == [
        "the event loop has stood still for longer than MOORING_RUN_TIMEOUT, 0.02 s: "
        "what runs on it blocks every other request"
    ]
