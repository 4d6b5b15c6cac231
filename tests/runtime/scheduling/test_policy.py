from mooring_runtime.scheduling.policy import INLINE_LIMIT, RunTimes

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
    times = learned(*[(100, SHORT, None)] * 20, *[(100, 1.0, None)] * 5)
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
