"""A fight over a field is bounded."""

from mooring_operator.cluster.contest import LIMIT, WINDOW, Contests, others


def test_so_often_within_a_window_and_no_more() -> None:
    contests = Contests()
    assert [contests.allows("1", 0.0) for _ in range(2 * LIMIT)] == [True] * LIMIT + [False] * LIMIT
    assert contests.allows("2", 0.0)
    assert contests.allows("1", WINDOW)


def test_the_window_slides() -> None:
    contests = Contests()
    step = WINDOW / LIMIT
    assert all(contests.allows("1", number * step) for number in range(10 * LIMIT))
    assert not contests.allows("1", 10 * LIMIT * step - step / 2)


def test_what_is_over_is_forgotten() -> None:
    contests = Contests()
    for number in range(1000):
        assert contests.allows(str(number), number * WINDOW)
    assert len(contests._times) <= 2


def test_others_are_named_the_latest_first() -> None:
    entries = [
        {"manager": "mooring", "operation": "Apply", "time": "2026-11-22T10:00:00Z"},
        {"manager": "mooring-rollout", "operation": "Apply", "time": "2026-11-22T10:00:00Z"},
        {"manager": "kubectl", "operation": "Update", "time": "2026-11-22T10:00:01Z"},
        {"manager": "rival", "operation": "Update", "time": "2026-11-22T10:00:02Z"},
        {"manager": "controller", "operation": "Update", "subresource": "status", "time": "2026-11-22T10:00:03Z"},
    ]
    assert others({"metadata": {"managedFields": entries}}, "mooring") == "rival, kubectl"
    assert others({"metadata": {}}, "mooring") == "an unknown writer"
