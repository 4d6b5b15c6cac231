from tests.bench.runtime import table
from tests.bench.runtime.cells import CLOSED, OPEN, Cell, Figure, Results

SERVERS = ["mooring", "triton", "kserve"]


def results() -> Results:
    made = Results()
    cell = Cell("tiny", "json", CLOSED[1])
    for number, rate in enumerate((10_000, 30_000, 20_000)):
        made.add("mooring", cell, number, Figure(rate, 0.2, 0.4, cpu=99, others=3))
    made.add("mooring", cell._replace(load=OPEN[0]), 1, Figure(5000, 1.0, 2.5, late=4.2))
    for load in (*CLOSED, *OPEN):
        made.miss("kserve", Cell("tiny", "json", load), "cannot be installed")
    return made


def test_the_table_shows_medians_and_reasons() -> None:
    lines = table.render(results(), SERVERS, {("tiny", "json"): 10_000}).splitlines()
    heading = next(line for line in lines if line.startswith("tiny, json"))
    assert heading.split()[2:] == ["mooring", "kserve"]  # a server without a word in this part has no column
    assert next(line for line in lines if line.startswith("8 connections")).split()[2:] == [
        "20000",
        "0.4",
        "missing",
        "[1]",
    ]
    assert "1.0 / 2.5 (+4)" in next(line for line in lines if line.startswith("open loop, 50 %, 5000/s"))
    assert lines[-1] == "[1] kserve: cannot be installed"
    assert not any(line.startswith("medium") for line in lines)


def test_rows_of_the_report() -> None:
    rows = table.rows(results(), SERVERS)
    [row] = [row for row in rows if row["server"] == "mooring" and row["load"] == "closed"]
    assert (row["number"], row["rate"], row["rates"], row["missing"]) == (8, 20_000, [10_000, 30_000, 20_000], "")
    assert {row["missing"] for row in rows if row["server"] == "kserve"} == {"cannot be installed"}
    assert not [row for row in rows if row["server"] == "triton"]
