"""What the goals make of the figures."""

from tests.bench.sessions.cells import Figure, cells, judge, rows

LIVE = 1000


def figures(**rates: float) -> dict[str, dict[int, Figure]]:
    """Three rounds of every cell, 1000 steps a second where nothing else is said."""
    return {
        cell.name: {number: Figure(rates.get(cell.name, 1000.0), 1, 2, 50, 90) for number in (1, 2, 3)}
        for cell in cells(LIVE)
    }


def test_each_goal_compares_what_it_says() -> None:
    rates = {
        "recurrent, durable": 800.0,
        "recurrent, stateless": 1000.0,
        "tiny, durable": 20_000.0,
        "tiny, Redis and a model server": 2001.0,
        "recurrent, 100 live": 1000.0,
        "recurrent, 1000 live": 950.0,
        "tiny, 100 live": 1000.0,
        "tiny, 1000 live": 899.0,
    }
    judged = judge(figures(**rates), {}, LIVE)
    assert [goal.value for goal in judged] == [0.8, 20_000, 9.995, 0.95, 0.899]
    assert [goal.holds for goal in judged] == [True, True, False, True, False]


def test_what_could_not_be_measured_says_why() -> None:
    there = figures()
    del there["tiny, Redis and a model server"]
    judged = judge(there, {"tiny, Redis and a model server": "redis-server is not installed"}, LIVE)
    assert judged[2].value is None
    assert not judged[2].holds
    assert "redis-server is not installed" in judged[2].detail


def test_the_table_has_a_row_for_each_cell() -> None:
    table = rows(figures(), {}, cells(LIVE))
    assert len({row["cell"] for row in table}) == len(table) == len(cells(LIVE))
    assert table[0] == {
        "cell": "recurrent, stateless",
        "rounds": 3,
        "rate": 1000.0,
        "p50": 1,
        "p99": 2,
        "client": 50,
        "server": 90,
    }
