from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from mooring_runtime.metrics import Ledger, ModelStats
from mooring_runtime.metrics.stats import Runs
from mooring_runtime.workers.statistics import chosen, kept_rows, merge_rows


@st.composite
def rows(draw: st.DrawFn) -> list[dict[str, Any]]:
    """What a real worker tells."""
    found = []
    for model in draw(st.sets(st.sampled_from("ab"))):
        stats = ModelStats(model, "1")
        stats.successes = draw(st.integers(0, 1000))
        stats.inferences = draw(st.integers(0, 1000))
        stats.last = draw(st.integers(0, 10**13))
        for size in draw(st.sets(st.sampled_from([1, 2, 8]))):
            stats.runs[size] = Runs()
            stats.runs[size].count = draw(st.integers(0, 1000))
        found.append(stats.row() | {"memory_usage": [{"type": "CPU", "id": 0, "byte_size": 7}]})
    return found


def numbers(table: list[dict[str, Any]]) -> dict[tuple[Any, ...], Any]:
    """Every number by where it stands; the order of rows and of lists says nothing."""
    found: dict[tuple[Any, ...], Any] = {}

    def walk(place: tuple[Any, ...], value: Any) -> None:
        if isinstance(value, dict):
            for key, inner in value.items():
                walk((*place, key), inner)
        elif isinstance(value, list):
            for inner in value:
                walk((*place, str([inner[key] for key in ("batch_size", "type", "id") if key in inner])), inner)
        else:
            found[place] = value

    for row in table:
        walk((row["name"],), row)
    return found


@given(rows(), rows(), rows())
def test_the_order_of_merging_does_not_matter(one: Any, two: Any, three: Any) -> None:
    assert numbers(merge_rows((merge_rows((one, two)), three))) == numbers(merge_rows((one, merge_rows((three, two)))))


@given(rows())
def test_one_worker_is_itself(one: Any) -> None:
    assert numbers(merge_rows((one, []))) == numbers(one)


def test_counts_add_up_and_the_last_is_the_latest() -> None:
    first, second = ModelStats("m", "1"), ModelStats("m", "1")
    first.inferences, first.last, first.request.total = 3, 50, 0.5
    second.inferences, second.last, second.request.total = 4, 40, 0.25
    first.runs[8], second.runs[8], second.runs[2] = Runs(), Runs(), Runs()
    first.runs[8].count, second.runs[8].count, second.runs[2].count = 1, 2, 5
    [row] = merge_rows(([first.row()], [second.row()]))
    assert (row["inference_count"], row["last_inference"]) == (7, 50)
    assert row["inference_stats"]["success"]["ns"] == 750_000_000
    assert [(each["batch_size"], each["compute_infer"]["count"]) for each in row["batch_stats"]] == [(2, 5), (8, 3)]


def test_the_dead_keep_their_counts_and_not_their_memory() -> None:
    ledger = Ledger(merge_rows, kept_rows)
    row = {
        **ModelStats("m", "1").row(),
        "inference_count": 3,
        "memory_usage": [{"type": "CPU", "id": 0, "byte_size": 7}],
    }
    ledger.update(0, [row])
    ledger.update(1, [row])
    [both] = ledger.total()
    assert (both["inference_count"], both["memory_usage"][0]["byte_size"]) == (6, 14)
    ledger.end(0)
    [left] = ledger.total()
    assert (left["inference_count"], left["memory_usage"][0]["byte_size"]) == (6, 7)


def test_rows_are_chosen_by_model_and_version() -> None:
    table = [{"name": "a", "version": "1"}, {"name": "a", "version": "2"}, {"name": "b", "version": "1"}]
    assert chosen(table, None, None) == table
    assert chosen(table, "a", None) == table[:2]
    assert chosen(table, "a", "2") == table[1:2]
