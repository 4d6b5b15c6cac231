from tests.bench.autoscaling.knative import Decider


def test_the_stable_window_counts_while_there_is_no_panic() -> None:
    decider = Decider(10.0)
    assert decider.scale(0.0, ready=10, stable=101.0, panic=101.0) == 11
    assert decider.scale(2.0, ready=11, stable=61.0, panic=5.0) == 7


def test_a_fall_is_to_half_of_the_ready_pods_at_most() -> None:
    assert Decider(10.0).scale(0.0, ready=11, stable=10.0, panic=10.0) == 5


def test_in_panic_the_count_never_falls_until_a_stable_window_has_passed() -> None:
    decider = Decider(10.0)
    assert decider.scale(0.0, ready=5, stable=60.0, panic=100.0) == 10
    assert decider.scale(30.0, ready=10, stable=40.0, panic=20.0) == 10
    assert decider.scale(60.0, ready=10, stable=40.0, panic=20.0) == 10  # Not yet past the window.
    assert decider.scale(62.0, ready=10, stable=60.0, panic=20.0) == 6


def test_panic_goes_on_while_the_threshold_is_crossed() -> None:
    decider = Decider(10.0)
    decider.scale(0.0, ready=5, stable=60.0, panic=100.0)
    decider.scale(50.0, ready=5, stable=60.0, panic=100.0)
    assert decider.scale(100.0, ready=10, stable=10.0, panic=10.0) == 10
    assert decider.scale(112.0, ready=10, stable=10.0, panic=10.0) == 5


def test_a_delay_keeps_the_highest_count_of_its_window() -> None:
    decider = Decider(10.0, down_delay=300.0)
    assert decider.scale(0.0, ready=10, stable=100.0, panic=100.0) == 10
    assert decider.scale(100.0, ready=10, stable=70.0, panic=70.0) == 10
    assert decider.scale(301.0, ready=10, stable=60.0, panic=60.0) == 7
    assert decider.scale(401.0, ready=7, stable=60.0, panic=60.0) == 6


def test_without_ready_pods_one_is_counted() -> None:
    assert Decider(10.0).scale(0.0, ready=0, stable=15.0, panic=15.0) == 2
