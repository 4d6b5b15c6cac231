"""The checker against histories of which it is known what is wrong: a judge that finds nothing is worthless."""

import asyncio
import dataclasses
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from random import Random

import pytest

from tests.faults import history, ledger
from tests.faults.checker import Verdict, check
from tests.faults.clients import Client, World
from tests.faults.history import Answer, Book, Loss, Losses, Op, Seen, Step
from tests.faults.pretender import FAULTS, INTERVAL_FAULTS, Pretender

OPS = 1500
SEEDS = range(4)
TICK_SECONDS = 0.02
"""Of a run's clock, where steps may wait for the disk."""


async def run(seed: int, fault: str = "") -> list[Op]:
    """What clients of all kinds live through with the pretender."""
    book = Book()
    return await played(seed, book, Pretender(Random(seed), fault))


async def lossy(seed: int, fault: str = "") -> Verdict:
    """The verdict on the same, where replies go before commits."""
    book = Book()
    book.clock = lambda: book.tick() * TICK_SECONDS
    server = Pretender(Random(seed), fault, book)
    ops = await played(seed, book, server)
    return check(ops, Losses(tuple(server.losses)))


async def played(seed: int, book: Book, server: Pretender) -> list[Op]:
    world = World(book, server.doors, lambda: len(book.ops) > OPS, lambda _: asyncio.sleep(0))
    clients = [Client(world, index, Random(f"{seed} {index}")) for index in range(7)]
    first = clients[5].ask(Step("shared", book.word(), start=True))
    server.mended = True
    assert (await first).outcome == "ok"
    clients[5].sessions["shared"] = Step("shared", 0)
    server.mended = False
    first_five = [client.numbered() for client in clients[:2]] + [clients[2].pipelined()]
    await asyncio.gather(
        *first_five, clients[3].plain(), clients[4].minted(), clients[5].shared("shared"), clients[6].shared("shared")
    )
    server.mended = world.faultless = True
    for client in clients:
        await client.read()
    return book.ops


def kinds(verdict: Verdict) -> set[str]:
    return {each.kind for each in verdict.violations}


async def test_a_server_that_keeps_its_promises_passes() -> None:
    counts: Counter[str] = Counter()
    for seed in SEEDS:
        verdict = check(await run(seed))
        assert verdict.violations == []
        assert verdict.counts["ok"] > OPS / 2
        counts += verdict.counts
    # Else the rules about these were never asked.
    seen = ("[gap]", "[mismatch]", "[ended]", "[owner-down]", "[reply-gone]", "applied in the dark")
    assert min(counts[name] for name in seen) > 2, counts


async def test_a_server_that_tells_of_what_it_loses_passes() -> None:
    counts: Counter[str] = Counter()
    for seed in range(8):
        verdict = await lossy(seed)
        assert verdict.violations == []
        counts += verdict.counts
    seen = ("[gap]", "[mismatch]", "[ended]", "[rewound]", "applied in the dark", "undone")
    assert min(counts[name] for name in seen) > 2, counts


@pytest.mark.parametrize("fault", [*INTERVAL_FAULTS, *FAULTS])
async def test_a_fault_of_a_server_that_may_lose_steps_is_found(fault: str) -> None:
    found = [kinds(await lossy(seed, fault)) for seed in SEEDS[:3]]
    if fault in INTERVAL_FAULTS:
        assert all(found), f"not found in every run: {found}"
    assert set.union(*found) & INTERVAL_FAULTS.get(fault, set.union(*found)), found


@pytest.mark.parametrize("fault", FAULTS)
async def test_a_fault_of_a_server_is_found(fault: str) -> None:
    found = [kinds(check(await run(seed, fault))) for seed in SEEDS]
    assert all(found), f"not found in every run: {found}"
    assert set.union(*found) & FAULTS[fault], found


# --- a good history, and one thing changed in it


class Good:
    """Three steps of one session, told as they should be, and the reading at the end."""

    def __init__(self, steps: int = 4) -> None:
        words = [ledger.word(number) for number in range(1, steps + 1)]
        pages = ledger.pages(words)
        self.ops = [
            Op(
                "c",
                Step("s", word, start=at == 0),
                Answer("ok", seen=Seen("s", "1", at + 1, False, pages[at])),
                10 * at,
                10 * at + 5,
                at == steps - 1,
            )
            for at, word in enumerate(words)
        ]

    def with_reply(self, at: int, page: ledger.Page, step: int | None = None) -> list[Op]:
        """The history with another reply to one operation."""
        op = self.ops[at]
        assert op.answer.seen is not None
        seen = op.answer.seen._replace(page=page, step=page.steps if step is None else step)
        return [*self.ops[:at], dataclasses.replace(op, answer=op.answer._replace(seen=seen)), *self.ops[at + 1 :]]


def lost() -> list[Op]:
    ops = Good().ops
    after = ledger.pages([ops[0].step.word, ops[1].step.word, ops[3].step.word])[-1]
    return Good().with_reply(3, after)


def doubled() -> list[Op]:
    ops = Good().ops
    words = [op.step.word for op in ops]
    after = ledger.pages([*words[:3], words[2], words[3]])[-1]
    return Good().with_reply(3, after)


def swapped() -> list[Op]:
    ops = Good().ops
    words = [op.step.word for op in ops]
    after = ledger.pages([words[1], words[0], *words[2:]])[-1]
    return [
        *(dataclasses.replace(op, answer=Answer("unknown", "lost")) for op in ops[:2]),
        dataclasses.replace(ops[2], answer=Answer("unknown", "lost")),
        *Good().with_reply(3, after)[3:],
    ]


def resurrected() -> list[Op]:
    ops = Good().ops
    return [ops[0], dataclasses.replace(ops[1], step=ops[1].step._replace(end=True)), *ops[2:]]


def phantom() -> list[Op]:
    return [op for at, op in enumerate(Good().ops) if at != 1]


def refused() -> list[Op]:
    ops = Good().ops
    return [ops[0], dataclasses.replace(ops[1], answer=Answer("refused", "moving")), *ops[2:]]


def crossed() -> list[Op]:
    ops = Good().ops
    return [
        ops[0],
        dataclasses.replace(ops[1], step=ops[1].step._replace(session="t"), answer=Answer("unknown")),
        *ops[2:],
    ]


def hash_of_another() -> list[Op]:
    return Good().with_reply(2, Good().ops[2].answer.seen.page._replace(hash=(0, 0)))  # type: ignore[union-attr]


def total_of_another() -> list[Op]:
    return Good().with_reply(2, Good().ops[2].answer.seen.page._replace(total=0))  # type: ignore[union-attr]


def amnesia() -> list[Op]:
    ops = Good().ops
    return [dataclasses.replace(ops[0], step=ops[0].step._replace(start=False)), *ops[1:]]


def unread() -> list[Op]:
    return Good().ops[:-1]


def forgotten() -> list[Op]:
    return [*Good().ops, Op("c", Step("s", 7), Answer("refused", "unknown"), 90, 91)]


def wrong_number() -> list[Op]:
    ops = Good().ops
    return [*ops[:2], dataclasses.replace(ops[2], step=ops[2].step._replace(number=2)), ops[3]]


@pytest.mark.parametrize(
    ("changed", "kind"),
    [
        (lost, "lost"),
        (doubled, "doubled"),
        (swapped, "amnesia"),
        (resurrected, "resurrected"),
        (phantom, "phantom"),
        (refused, "refused"),
        (crossed, "crossed"),
        (hash_of_another, "state"),
        (total_of_another, "state"),
        (amnesia, "amnesia"),
        (unread, "undecided"),
        (forgotten, "forgotten"),
        (wrong_number, "number"),
    ],
)
def test_one_change_in_a_good_history_is_found(changed: Callable[[], list[Op]], kind: str) -> None:
    assert check(Good().ops).violations == []
    assert kind in kinds(check(changed()))
    assert check(Good().ops, Losses()).violations == []
    assert check(changed(), Losses()).violations, "it may not be, either, where steps may be lost and nothing happened"


def test_what_was_sent_later_may_not_stand_earlier() -> None:
    ops = Good().ops
    words = [op.step.word for op in ops]
    pages = ledger.pages([words[0], words[2], words[1], words[3]])
    answers = [None, Answer("unknown", "lost"), Answer("ok", seen=Seen("s", "1", 2, False, pages[1])), None]
    told = [
        op if answer is None else dataclasses.replace(op, answer=answer)
        for op, answer in zip(ops, answers, strict=True)
    ]
    told[3] = dataclasses.replace(ops[3], answer=Answer("ok", seen=Seen("s", "1", 4, False, pages[3])))
    assert check(told).violations == [], "a step that nobody answered may be applied later"
    assert ops[1].answer.seen is not None
    told[1] = dataclasses.replace(ops[1], answer=Answer("ok", seen=Seen("s", "1", 3, False, pages[2])))
    assert kinds(check(told)) == {"reordered"}


def test_a_history_on_disk_is_the_same(tmp_path: Path) -> None:
    ops = [*Good().ops, Op("c", Step("é", 5, 3, end=True, life="7"), Answer("refused", "gap", 2), 50, 51)]
    for losses in (None, Losses((Loss("kill", 1, 5, 7, 1.5),), 3)):
        history.write(ops, tmp_path / "h", losses)
        assert history.read(tmp_path / "h") == (ops, losses)
