from dataclasses import replace

import pytest

from tests.bench.runtime.cells import CLOSED, MODELS, OPEN, PROTOCOLS, Cell, Load
from tests.bench.runtime.limits import Constant
from tests.bench.runtime.peers.registry import OURS, everyone
from tests.bench.runtime.plan import GOAL_OPEN, QUICK, Plan, estimate, is_overloaded, rotated
from tests.bench.runtime.processes import UnavailableError
from tests.bench.runtime.rounds import Cores, protocols_of


def test_a_full_run_fits_half_an_hour() -> None:
    assert estimate(Plan(), protocols_of((*everyone(), Constant()))) <= 30 * 60


def test_a_quick_run_is_one_round() -> None:
    assert list(QUICK.all_rounds()) == [1]
    servers = protocols_of((*everyone(), Constant()))
    assert estimate(QUICK, servers) < estimate(Plan(), servers) / 4


def test_a_round_holds_every_cell_once() -> None:
    cells = list(Plan().cells(1, "tiny"))
    assert len(cells) == len(set(cells)) == len(PROTOCOLS) * (len(CLOSED) + len(OPEN))
    assert [cell.load.kind for cell in cells] == ["closed"] * 9 + ["open"] * 9  # the first tell what a server can do


def test_goals_of_the_open_loop_have_five_rounds_of_30_seconds() -> None:
    plan = Plan()
    assert [tuple(plan.cells(number, "medium")) for number in (4, 5)] == [GOAL_OPEN, GOAL_OPEN]
    assert list(plan.cells(4, "tiny")) == []
    assert {plan.seconds(cell, server) for cell in GOAL_OPEN for server in (OURS, "triton", "triton-2ms")} == {30}


def test_only_keeps_what_all_words_ask_for() -> None:
    plan = replace(Plan(), only=frozenset({"tiny", "grpc", "closed", "kserve"}))
    assert [*plan.cells(1, "tiny")] == [Cell("tiny", "grpc", load) for load in CLOSED]
    assert [*plan.cells(1, "medium")] == []
    assert [name for name in (OURS, "kserve", "triton") if plan.wants_server(name)] == [OURS, "kserve"]


@pytest.mark.parametrize(
    ("words", "wanted"),
    [(set(), True), ({"workers"}, True), ({"medium"}, True), ({"tiny"}, False), ({"open"}, False), ({"grpc"}, False)],
)
def test_only_and_the_workers(words: set[str], wanted: bool) -> None:
    assert replace(Plan(), only=frozenset(words)).wants_workers() is wanted


def test_only_workers_leaves_no_cell() -> None:
    plan = replace(Plan(), only=frozenset({"workers"}))
    assert [cell for model in MODELS for cell in plan.cells(1, model)] == []


def test_rotated() -> None:
    assert [rotated("abc", by) for by in range(4)] == [list("abc"), list("bca"), list("cab"), list("abc")]
    assert rotated("", 3) == []


def test_who_is_overloaded() -> None:
    tiny, medium = Cell("tiny", "json", Load("open", 50)), GOAL_OPEN[0]
    assert is_overloaded(tiny, "triton", rate=20_000, capacity=10_000)
    assert not is_overloaded(tiny, "triton", rate=5_000, capacity=10_000)
    assert not is_overloaded(tiny, OURS, rate=20_000, capacity=10_000)
    assert not is_overloaded(tiny, "triton", rate=20_000, capacity=None)
    assert not is_overloaded(medium, "triton-2ms", rate=2_000, capacity=1_000)  # a goal is judged on it
    assert is_overloaded(medium, "kserve", rate=2_000, capacity=1_000)


def test_a_core_for_each() -> None:
    assert Cores.of([0, 1]) == Cores((0,), (1,), (0, 1), (0, 1))
    assert Cores.of([2, 4, 6, 7]) == Cores((2,), (4,), (2, 4), (6,))
    with pytest.raises(UnavailableError):
        Cores.of([0])
