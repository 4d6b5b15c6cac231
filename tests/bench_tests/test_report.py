import json
from pathlib import Path

import pytest

from tests.bench import report


@pytest.mark.parametrize(("percent", "value"), [(50, 50), (99, 99), (100, 100), (1, 1)])
def test_percentile_is_the_smallest_value_that_so_many_do_not_exceed(percent: float, value: int) -> None:
    assert report.percentile(range(100, 0, -1), percent) == value


def test_percentile_of_few_values_is_the_largest() -> None:
    assert report.percentile([3.0, 1.0], 99) == 3.0


def test_a_figure_needs_three_runs() -> None:
    told = report.judge("g", [1.0, 1.0], "x", "<= 2", "why")
    assert told.value is None
    assert not told.holds
    assert told.detail.endswith("why")


def test_the_median_is_judged() -> None:
    assert report.judge("g", [9.0, 1.0, 1.0], "x", "<= 2", "").holds
    assert not report.judge("g", [9.0, 9.0, 1.0], "x", "<= 2", "").holds


def test_cells_stand_beside_the_goals(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report, "FOLDER", tmp_path)
    plain = json.loads(report.write("plain", [], fact=1).read_text())
    assert set(plain) == {"machine", "goals"}
    assert plain["machine"]["fact"] == 1
    assert json.loads(report.write("table", [], [{"a": 1}]).read_text())["cells"] == [{"a": 1}]
