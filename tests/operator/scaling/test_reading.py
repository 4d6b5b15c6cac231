import math
from dataclasses import asdict, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mooring_operator.facts import Key
from mooring_operator.scaling.answers import answers
from mooring_operator.scaling.findings import Findings, Line
from mooring_operator.scaling.queries import Signal, signals
from mooring_operator.scaling.reading import Results, last_step, median_line, read
from mooring_operator.scaling.scraping import HISTORY, Scraping
from tests.support import builders

NOW = 1_800_000_007.5
ONE, TWO = Key("one", "sentiment"), Key("two", "sentiment")
PER_POD = ("curve", "run_mean", "run_variation", "garbled")


def series(key: Key, value: object = "1", **labels: str) -> dict[str, Any]:
    named = {"mooring_namespace": key.namespace, "mooring_service": key.name, **labels}
    return {"metric": named, "value": [NOW, value]}


def results(**answers: list[dict[str, Any]]) -> Results:
    return Results(NOW, answers)  # type: ignore[arg-type]


def one(**answers: list[dict[str, Any]]) -> Findings:
    return read(results(pods=[series(ONE)], **answers))[ONE]


def curve(key: Key, pod: str, a: float, b: float) -> list[dict[str, Any]]:
    return [series(key, str(value), instance=pod, term=term) for term, value in (("a", a), ("b", b))]


def test_services_of_one_name_in_two_namespaces_have_findings_of_their_own() -> None:
    found = read(results(rate=[series(ONE, "3.5"), series(TWO, "7")], queued=[series(TWO, "4")]))
    assert (found[ONE].rate, found[ONE].queued) == (3.5, None)
    assert (found[TWO].rate, found[TWO].queued) == (7.0, 4.0)


@pytest.mark.parametrize("text", ["NaN", "+Inf", "-Inf", "-1", "1e300"])
@pytest.mark.parametrize("signal", [signal for signal in signals(Scraping()) if signal not in PER_POD])
def test_what_is_not_a_number_is_as_if_it_were_not_there(signal: Signal, text: str) -> None:
    found = (
        one(**{signal: [series(ONE, text)]}) if signal != "pods" else read(results(rate=[series(ONE, text)])).get(ONE)
    )
    assert found is None or replace(found, garbled={}) == one(**({} if signal == "pods" else {signal: []}))


def test_series_that_are_no_numbers_are_told_with_their_pods() -> None:
    def odd(key: Key, name: str, *pods: str) -> list[dict[str, Any]]:
        return [series(key, "2", instance=pod, series=name) for pod in pods]

    found = read(
        results(
            pods=[series(ONE), series(TWO)],
            garbled=[*odd(ONE, "mooring_in_flight", "d", "a", "c", "b", "e"), *odd(TWO, "mooring_queue_depth", "a")],
            rate=[series(ONE, "NaN"), series(TWO, "1")],
        )
    )
    # By now the counter may be a number again, and nobody knows any more of which pod it was none.
    assert found[ONE].garbled == {"mooring_in_flight": "a, b, c and 2 more", "mooring_requests_received_total": ""}
    assert found[TWO].garbled == {"mooring_queue_depth": "a"}


def test_a_histogram_under_a_name_of_ours_blinds_no_other_service() -> None:
    odd = {"metric": series(ONE)["metric"], "histogram": [NOW, {"count": "3", "sum": "1", "buckets": []}]}
    past = {"metric": series(ONE)["metric"], "histograms": [odd["histogram"]]}
    found = read(replace(results(queued=[odd, series(TWO, "4")], rate=[series(ONE)]), history=[past]))
    assert found[TWO].queued == 4.0
    assert found[ONE].queued is None and not any(point is not None for point in found[ONE].history)


_NUMBERS = st.sampled_from(["NaN", "+Inf", "-Inf", "0", "-1", "1e300", "1e15", "1e-300", "0.25", "17"])
_KEYS = st.sampled_from([ONE, TWO])


@given(
    st.dictionaries(
        st.sampled_from(list(signals(Scraping()))),
        st.lists(st.builds(series, _KEYS, _NUMBERS, instance=st.sampled_from("xyz"), term=st.sampled_from("ab"))),
    )
)
def test_no_answer_of_the_right_form_gives_what_is_not_a_number(given: dict[Signal, list[dict[str, Any]]]) -> None:
    wanted = builders.service(scaling={"maxReplicas": 9, "latency": {"target": "400ms"}})
    for found in read(Results(NOW, given)).values():
        for value in asdict(found).values():
            assert not isinstance(value, float) or math.isfinite(value)
        seen = replace(found, newest=found.time, pods=max(1, found.pods), copies=1)
        for answer in answers(wanted, seen).values():
            assert answer.value is None or 0.0 <= answer.value <= 2e15


@pytest.mark.parametrize(("interval", "step"), [(1.0, 5), (5.0, 5), (7.5, 8), (15.0, 15), (60.0, 60)])
def test_a_history_stands_on_steps_that_do_not_move_with_the_look(interval: float, step: int) -> None:
    scraping = Scraping(interval)
    end = last_step(NOW, scraping)
    assert end <= NOW < end + step and end % step == 0 and last_step(end + step - 0.001, scraping) == end
    values = [[end - 2 * step, "1.5"], [end - step, "NaN"], [end, "2.5"]]
    history = read(Results(NOW, {}, {}, [{**series(ONE), "values": values}], scraping))[ONE].history
    assert len(history) == HISTORY // step + 1
    assert history[-4:] == (None, 1.5, None, 2.5)


def test_the_latency_of_each_percentile_is_kept_apart() -> None:
    found = read(
        Results(NOW, {}, {95: [series(ONE, "0.2")], 99: [series(ONE, "NaN")]}, [{**series(ONE), "values": []}])
    )
    assert found[ONE].latency == {95: 0.2}


def test_a_curve_is_that_of_one_pod_and_neither_the_fastest_nor_the_slowest() -> None:
    found = one(
        batch_limit=[series(ONE, "16")],
        curve=[*curve(ONE, "x", 0.010, 0.004), *curve(ONE, "cold", 3.0, 0.5), *curve(ONE, "z", 0.030, 0.001)],
    )
    # At 8 samples x takes 42 ms, z 38 ms and the cold one 7 s.
    assert found.curve == Line(0.010, 0.004)


@pytest.mark.parametrize("b", ["NaN", "+Inf", None])
def test_half_a_line_is_none(b: str | None) -> None:
    half = [series(ONE, "0.01", instance="x", term="a")]
    assert one(curve=half if b is None else [*half, series(ONE, b, instance="x", term="b")]).curve is None


def test_a_pod_that_has_not_run_anything_has_no_line() -> None:
    assert one(curve=curve(ONE, "x", 0.0, 0.0)).curve is None
    assert one(curve=[*curve(ONE, "x", 0.0, 0.0), *curve(ONE, "y", 0.01, 0.002)]).curve == Line(0.01, 0.002)


_SECONDS = st.floats(0.001, 10.0)
_LINES = st.dictionaries(st.text("abcd", min_size=1), st.tuples(_SECONDS, _SECONDS), min_size=1, max_size=9)


@given(_LINES, st.floats(0.5, 64.0))
def test_half_of_the_pods_are_no_slower_than_the_line_that_is_taken(
    pods: dict[str, tuple[float, float]], samples: float
) -> None:
    taken = median_line({pod: a for pod, (a, _) in pods.items()}, {pod: b for pod, (_, b) in pods.items()}, samples)
    assert taken is not None and tuple(taken) in pods.values()
    slower = sum(a + b * samples > taken.at(samples) for a, b in pods.values())
    faster = sum(a + b * samples < taken.at(samples) for a, b in pods.values())
    assert slower <= len(pods) / 2 and faster <= len(pods) / 2


def test_mean_and_variation_are_those_of_one_pod() -> None:
    found = one(
        run_mean=[series(ONE, mean, instance=pod) for pod, mean in (("x", "0.1"), ("y", "0.2"), ("z", "0.9"))],
        run_variation=[series(ONE, cv2, instance=pod) for pod, cv2 in (("x", "3"), ("y", "0.5"), ("z", "0.1"))],
    )
    assert (found.run_mean, found.run_variation) == (0.2, 0.5)


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        ({"metric": {"mooring_service": "sentiment"}, "value": [NOW, "1"]}, "mooring_namespace"),
        ({"value": [NOW, "1"]}, "labels"),
        ({**series(ONE), "value": [NOW, "many"]}, "'many'"),
        ({**series(ONE), "value": "17"}, "17"),
        ({**series(ONE), "value": None}, "None"),
        ({**series(ONE), "value": [NOW, 17]}, "17"),
    ],
)
def test_an_answer_of_another_form_is_refused_with_what_was_found(answer: dict[str, Any], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        read(results(rate=[answer]))


@pytest.mark.parametrize("values", [None, "17", [[NOW]], [[NOW, 17]], [17], [[NOW, "many"]]])
def test_a_history_of_another_form_is_refused(values: object) -> None:
    with pytest.raises(ValueError, match="sentiment"):
        read(Results(NOW, {}, {}, [{**series(ONE), "values": values}]))
