import pytest

from mooring_runtime.errors import InferenceFailed
from mooring_runtime.errors.sessions import BadSession, SessionConflict
from mooring_runtime.sessions import trace
from mooring_runtime.sessions.keys import Key
from mooring_runtime.sessions.trace import MOST_STEPS, MOST_WATCHED, TracedStep, Traces

KEY = Key("m", "a")


def step(number: int) -> TracedStep:
    return TracedStep(number, 1, 0.1, 0.2, 0.3, 64, b"digest")


def test_only_the_last_steps_are_kept() -> None:
    traces = Traces()
    traces.watch(KEY, 3)
    for number in range(1, 6):
        traces.applied(KEY, step(number))
    assert traces.steps(KEY) == [step(3), step(4), step(5)]
    assert traces.bound(KEY) == 3


def test_who_is_not_watched_is_not_kept() -> None:
    traces = Traces()
    traces.applied(KEY, step(1))
    assert traces.steps(KEY) is None
    assert traces.bound(KEY) == 0
    traces.watch(KEY, 5)
    assert traces.steps(KEY) == []
    traces.watch(KEY, 0)
    assert traces.steps(KEY) is None


def test_another_bound_keeps_what_fits() -> None:
    traces = Traces()
    traces.watch(KEY, 10)
    for number in range(1, 6):
        traces.applied(KEY, step(number))
    traces.watch(KEY, 2)
    assert traces.steps(KEY) == [step(4), step(5)]


@pytest.mark.parametrize("steps", [-1, MOST_STEPS + 1])
def test_a_trace_has_bounds(steps: int) -> None:
    with pytest.raises(BadSession, match=f"steps of a trace is {steps}: it must be from 0 to {MOST_STEPS}"):
        Traces().watch(KEY, steps)


def test_the_watch_that_began_first_ends_when_there_are_too_many() -> None:
    traces = Traces()
    for number in range(MOST_WATCHED + 1):
        traces.watch(Key("m", str(number)), 1)
    assert traces.steps(Key("m", "0")) is None
    assert traces.steps(Key("m", "1")) == []
    assert len(traces.watched) == MOST_WATCHED


def test_an_error_is_the_last_one_and_a_step_of_the_trace() -> None:
    traces = Traces(lambda: 77)
    traces.watch(KEY, 2)
    traces.failed(KEY, InferenceFailed("x" * 1000))
    traces.failed(KEY, SessionConflict("no", "gap"), 9)
    error = traces.last_error(KEY)
    assert error is not None
    assert (error.time, error.cause, error.message, error.step) == (77, "gap", "no", 9)
    steps = traces.steps(KEY)
    assert steps is not None
    assert [(each.step, each.time, each.outcome) for each in steps] == [(0, 77, "backend"), (9, 77, "gap")]


def test_errors_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trace, "_MOST_ERRORS", 2)
    traces = Traces()
    for name in ("a", "b", "a", "c"):
        traces.failed(Key("m", name), InferenceFailed("x" * 1000))
    kept = {name: traces.last_error(Key("m", name)) for name in "abc"}
    assert kept["b"] is None
    assert kept["a"] is not None
    assert len(kept["a"].message) == 500
