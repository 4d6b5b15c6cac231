from random import Random

from pytest import approx

from mooring_runtime.scheduling.curve import INLINE_LIMIT, Curve, RunTimes

SHORT, LONG = INLINE_LIMIT / 20, INLINE_LIMIT * 10


def learned(*runs: tuple[int, float, float | None]) -> RunTimes:
    times = RunTimes()
    for size, wall, cpu in runs:
        times.observe(size, wall, cpu)
    return times


def test_what_is_not_known_is_long() -> None:
    assert not RunTimes().inline(100)


def test_a_short_run_goes_inline_a_long_one_does_not() -> None:
    assert learned((100, SHORT, None)).inline(100)
    assert not learned((100, LONG, LONG)).inline(100)


def test_a_larger_size_is_judged_by_the_smaller_one() -> None:
    times = learned((100, SHORT, None))
    assert times.inline(400)
    assert not times.inline(100 * 2**6)
    assert not times.inline(1)


def test_a_few_interrupted_runs_change_nothing() -> None:
    times = learned(*[(100, SHORT, None)] * 20, *[(100, 0.04, None)] * 5)
    assert times.inline(100)


def test_a_model_that_got_slow_leaves_the_loop() -> None:
    times = learned((100, SHORT, None))
    runs = 0
    while times.inline(100):
        times.observe(100, LONG, None)
        runs += 1
    assert runs < 40


def test_a_thread_that_waits_for_the_interpreter_is_only_suspect() -> None:
    times = learned((100, LONG, SHORT))
    for _ in range(16):
        assert not times.inline(100)
        times.observe(100, LONG, SHORT)
    assert times.inline(100)
    times.observe(100, SHORT, None)
    assert times.inline(100)


def test_a_model_that_has_blocked_the_loop_leaves_it_at_once() -> None:
    times = learned(*[(100, SHORT, None)] * 50, (100, 3.0, None))
    assert not times.inline(100)
    # It sleeps: hardly any time of the processor, and yet nothing to try on the loop again.
    for _ in range(1000):
        times.observe(100, 3.0, SHORT)
        assert not times.inline(100)
    # Short runs bring it back.
    for _ in range(500):
        times.observe(100, SHORT, SHORT)
    assert times.inline(100)


def test_a_device_that_really_takes_long_is_tried_on_the_loop_ever_more_rarely() -> None:
    times = learned((100, LONG, SHORT))
    gaps = []
    for _ in range(4):
        gap = 0
        while not times.inline(100):
            times.observe(100, LONG, SHORT)
            gap += 1
        times.observe(100, LONG, None)
        gaps.append(gap)
    assert gaps == [16, 32, 64, 128]


def fitted(*runs: tuple[int, float]) -> Curve:
    curve = Curve()
    for samples, seconds in runs:
        curve.observe(samples, seconds)
    return curve


def test_before_the_first_run_the_curve_says_nothing() -> None:
    assert Curve().terms == (0.0, 0.0)


def test_the_curve_is_found_in_exact_runs() -> None:
    a, b = fitted(*[(n, 0.003 + 0.0004 * n) for n in (1, 2, 4, 8, 16, 32)] * 20).terms
    assert abs(a - 0.003) < 1e-5
    assert abs(b - 0.0004) < 1e-6


def test_one_size_alone_counts_half_as_fixed() -> None:
    assert fitted((4, 0.008)).terms == (0.004, 0.001)


def test_a_known_slope_stays_when_all_runs_have_one_size() -> None:
    curve = fitted(*[(n, 0.003 + 0.0004 * n) for n in (1, 8)] * 20, *[(32, 0.003 + 0.0004 * 32)] * 3000)
    a, b = curve.terms
    assert abs(b - 0.0004) < 1e-5
    assert abs(a - 0.003) < 5e-4


def test_runs_that_get_quicker_with_their_size_have_no_negative_slope() -> None:
    assert fitted((1, 0.002), (2, 0.001), (4, 0.0005)).terms[1] == 0.0


def test_interrupted_runs_do_not_bend_the_curve() -> None:
    runs = [(n, 0.003 + 0.0004 * n) for n in (1, 2, 4, 8, 16, 32)] * 20
    runs[14::15] = [(n, 1.0) for n, _ in runs[14::15]]
    assert fitted(*runs).fixed < 0.006


def test_nine_runs_in_ten_lie_below_the_curve_that_is_told() -> None:
    random = Random(7)
    runs = [(n, (0.003 + 0.0004 * n) * random.uniform(0.8, 1.2)) for n in random.choices((1, 2, 4, 8, 16), k=3000)]
    a, b = fitted(*runs).terms
    above = sum(seconds > a + b * n for n, seconds in runs[2000:]) / 1000
    assert 0.02 < above < 0.2


def test_the_thread_teaches_the_curve_what_it_measures_and_not_what_it_waits() -> None:
    times = RunTimes()
    times.observe(100, LONG, LONG, 4)
    assert times.curve.fixed == LONG / 2
    for _ in range(5):
        times.observe(100, 20 * LONG, SHORT, 4)
    assert times.curve.fixed == LONG / 2


def test_of_many_short_runs_some_teach_the_curve() -> None:
    times = RunTimes()
    for _ in range(50):
        times.observe(100, SHORT, None, 4)
    assert times.curve.terms[1] == SHORT / 8


def test_mean_and_variation_of_the_runs() -> None:
    assert (Curve().mean, Curve().variation) == (0.0, 0.0)
    steady = fitted(*[(1, 0.1)] * 50)
    assert steady.mean == approx(0.1)
    assert steady.variation == approx(0.0, abs=1e-9)
    random = Random(3)
    whole = fitted(*[(1, random.expovariate(10)) for _ in range(4000)])
    assert whole.mean == approx(0.1, rel=0.2)
    assert whole.variation == approx(1.0, rel=0.3)


def test_one_run_in_a_thousand_that_is_interrupted_is_no_variation() -> None:
    runs = [(1, 1e-5)] * 500
    runs[400] = (1, 1.0)
    assert fitted(*runs).variation < 3


def test_the_curve_follows_a_model_that_got_slower() -> None:
    sizes = (1, 2, 4, 8, 16)
    before = [(n, 0.003 + 0.0004 * n) for n in sizes] * 200
    after = [(n, 0.006 + 0.0008 * n) for n in sizes] * 300
    a, b = fitted(*before, *after).terms
    assert a == approx(0.006, rel=0.1)
    assert b == approx(0.0008, rel=0.1)


def test_a_warm_up_gives_the_first_line_and_clients_soon_the_next() -> None:
    sizes = (1, 2, 4, 8, 16, 32)
    curve = fitted(*[(n, 0.003 + 0.0004 * n) for n in sizes])
    curve.warmed()
    assert curve.terms == approx((0.003, 0.0004))
    for _ in range(2):
        for n in sizes:
            curve.observe(n, 0.006 + 0.0008 * n)
    assert curve.fixed == approx(0.006, rel=0.1)
    assert curve.terms[1] == approx(0.0008, rel=0.1)


def test_the_slope_of_a_warm_up_stays_while_clients_come_one_by_one() -> None:
    curve = fitted(*[(n, 0.003 + 0.0004 * n) for n in (1, 2, 4, 8, 16, 32)])
    curve.warmed()
    for _ in range(5000):
        curve.observe(1, 0.0034)
    assert curve.terms[1] == approx(0.0004, rel=0.05)
