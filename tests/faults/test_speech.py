"""The judge of what silero-vad says, against histories of which it is known what is wrong."""

import asyncio
import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random

import pytest

from tests.faults import history, ledger, speech
from tests.faults.checker import Verdict
from tests.faults.clients import Client, World
from tests.faults.history import Answer, Book, Op, Seen, Step
from tests.faults.pretender import Pretender
from tests.faults.speech import SPEECH, alone, judged

WORDS = [ledger.word(number) for number in range(1, 9)]
FAULTS = {
    "forgets the last step": {"state", "gap"},
    "forgets a session": {"forgotten", "undecided"},
    "begins anew in silence": {"number", "gap"},
    "applies a step twice": {"state", "number", "gap"},
    "applies a repeat": {"state", "number", "gap"},
    "swaps two steps": {"state"},
    "invents a step": {"state", "number", "gap"},
    "mixes two sessions": {"state"},
    "answers a repeat with the present": {"state"},
}
"""Of the pretender, and by which violations each may be found."""


def told(applied: Sequence[int], number: int) -> Seen:
    """The reply to a step of a server that counts right, and whose model has heard these words."""
    [*_, heard] = alone(applied)
    return Seen("s", "1", number, False, ledger.Page(0, (), 0, ()), None, heard)


def heard(applied: Callable[[int], Sequence[int]]) -> list[Op]:
    """One client's steps, each answered by a model that has heard what `applied` says of so many words."""
    ops = []
    for number, word in enumerate(WORDS, 1):
        step = Step("s", word, number, start=number == 1)
        answer = Answer("ok", seen=told(applied(number), number))
        ops.append(Op("c", step, answer, 10 * number, 10 * number + 5, number == len(WORDS)))
    return ops


def kinds(verdict: Verdict) -> set[str]:
    return {each.kind for each in verdict.violations}


def test_what_the_model_says_of_the_same_chunks_passes(tmp_path: Path) -> None:
    ops = heard(lambda number: WORDS[:number])
    assert judged(ops).violations == []
    history.write(ops, tmp_path / "history.jsonl")
    assert history.read(tmp_path / "history.jsonl") == (ops, None)


@pytest.mark.parametrize(
    "applied",
    [
        lambda number: WORDS[: min(number, 3)] + WORDS[2:number],
        lambda number: WORDS[:2] + WORDS[3:number] if number > 3 else WORDS[:number],
        lambda number: [*WORDS[:2], WORDS[3], WORDS[2], *WORDS[4:number]] if number > 3 else WORDS[:number],
        lambda number: WORDS[3:number] if number > 3 else WORDS[:number],
        lambda number: WORDS[:number] if number < 5 else [ledger.word(99), *WORDS[1:number]],
    ],
    ids=["doubled", "skipped", "swapped", "state lost", "another's"],
)
def test_a_chunk_too_many_or_too_few_is_found_though_the_numbers_are_right(
    applied: Callable[[int], Sequence[int]],
) -> None:
    assert kinds(judged(heard(applied))) == {"state"}


def test_a_chunk_that_is_doubled_at_the_end_is_found_by_the_reading() -> None:
    ops = heard(lambda number: WORDS[:number] if number < len(WORDS) else [*WORDS[:-1], WORDS[-2], WORDS[-1]])
    assert kinds(judged(ops)) == {"state"}
    assert kinds(judged(ops[:-1])) == {"undecided"}, "without the reading nothing is proved of the last step"


@pytest.mark.parametrize("at", [0, 1, 16])
def test_what_is_let_pass_is_little(at: int) -> None:
    ops = heard(lambda number: WORDS[:number])
    seen = ops[4].answer.seen
    assert seen is not None

    def changed(by: float) -> list[Op]:
        other = tuple(each + by * (place == at) for place, each in enumerate(seen.heard))
        return [*ops[:4], dataclasses.replace(ops[4], answer=Answer("ok", seen=seen._replace(heard=other))), *ops[5:]]

    assert judged(changed(1e-6)).violations == []
    assert kinds(judged(changed(1e-4))) == {"state"}


def test_a_reply_of_an_earlier_step_is_named() -> None:
    ops = heard(lambda number: WORDS[:number] if number != 5 else WORDS[:4])
    [violation] = judged(ops).violations
    assert "at step 5, which it says after 4 steps" in violation.text


def test_a_number_that_nobody_was_told_of_proves_nothing() -> None:
    ops = heard(lambda number: WORDS[:number])
    assert "undecided" in kinds(judged([*ops[:2], *ops[3:]]))


def test_the_counts_of_the_server_are_held_against_those_of_the_client() -> None:
    ops = heard(lambda number: WORDS[:number])
    assert ops[4].answer.seen is not None
    answer = Answer("ok", seen=ops[4].answer.seen._replace(step=6))
    assert kinds(judged([*ops[:4], dataclasses.replace(ops[4], answer=answer), *ops[5:]])) == {"number"}


def test_sounds_of_words_are_apart() -> None:
    sounds = {tuple(speech.sound(ledger.word(number))) for number in range(1, 500)}
    assert len(sounds) == 499
    assert {len(each) for each in sounds} == {512}
    said = [reply[0] for reply in alone(WORDS * 3)]
    assert max(said) - min(said) > 0.3, "sounds in which nothing happens would show nothing"


async def played(seed: int, fault: str) -> list[Op]:
    """Short sessions with the pretender, whose replies are put into what the model would say of the same words."""
    book, server = Book(), Pretender(Random(seed), fault)
    world = World(book, server.doors, lambda: False, lambda _: asyncio.sleep(0))
    client, step = Client(world, 0, Random(seed)), Step("", 0)
    for session in map(str, range(10)):
        for number in range(1, 10):
            before, step = step, Step(session, book.word(), number, start=number == 1)
            answer = await client.insist(step)
            if answer.outcome != "ok":
                break
            client.sessions[session] = step
            if number % 3 == 0:
                await client.ask(before)
    server.mended = world.faultless = True
    await client.read()
    return [dataclasses.replace(op, answer=_said(op.answer)) for op in book.ops]


def _said(answer: Answer) -> Answer:
    if answer.seen is None:
        return answer
    # The sessions are so short that a reply shows all words.
    [*_, heard] = alone([word for word in answer.seen.page.recent if word])
    return answer._replace(seen=answer.seen._replace(page=ledger.Page(0, (), 0, ()), heard=heard))


async def test_a_server_that_keeps_its_promises_passes() -> None:
    ops = await played(1, "")
    assert judged(ops).violations == []
    assert sum(op.answer.outcome == "ok" for op in ops) > 100


@pytest.mark.parametrize("fault", FAULTS)
async def test_a_fault_of_a_server_is_found(fault: str) -> None:
    found = [kinds(judged(await played(seed, fault))) for seed in range(2)]
    assert all(found), f"not found in every run: {found}"
    assert set.union(*found) & FAULTS[fault], found


def test_a_request_is_what_the_model_takes() -> None:
    assert SPEECH.shown({"output": [0.5], "stateN": list(range(256))}).heard == (0.5, *map(float, range(0, 256, 16)))
    with pytest.raises(KeyError):
        SPEECH.shown({"output": [0.5]})
