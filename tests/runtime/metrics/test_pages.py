"""The numbers of several workers as one, whatever they do and whenever they die."""

import json

from hypothesis import given
from hypothesis import strategies as st

from mooring_runtime.metrics import Ledger, Page, kept, merge
from mooring_runtime.metrics.names import (
    BATCH_SIZE,
    IN_FLIGHT,
    METRICS,
    MODEL_READY,
    NV_COUNT,
    QUEUE_OLDEST,
    REQUESTS_RECEIVED,
)
from mooring_runtime.metrics.pages import from_wire, to_wire

KEYS = st.tuples(st.sampled_from(["", "_sum"]), st.tuples(st.sampled_from("ab"), st.just("1")))
# Whole numbers, whose sums do not depend on their order.
PAGES = st.dictionaries(
    st.sampled_from(sorted(METRICS)), st.dictionaries(KEYS, st.integers(0, 2**40).map(float), max_size=3), max_size=4
)


@given(PAGES, PAGES, PAGES)
def test_the_order_of_merging_does_not_matter(one: Page, two: Page, three: Page) -> None:
    assert merge((merge((one, two)), three)) == merge((one, merge((two, three))))
    assert merge((one, two, three)) == merge((three, two, one))


@given(PAGES)
def test_one_page_is_itself_and_an_empty_one_changes_nothing(page: Page) -> None:
    assert merge((page,)) == page == merge(({}, page))


@given(PAGES)
def test_a_page_goes_over_the_wire_as_it_is(page: Page) -> None:
    assert from_wire(json.loads(json.dumps(to_wire(page)))) == page


def of(metric: object, value: float) -> Page:
    return {str(metric): {("", ("m", "1")): value}}


def test_gauges_merge_as_they_say() -> None:
    for metric, together in ((IN_FLIGHT, 5.0), (QUEUE_OLDEST, 3.0), (MODEL_READY, 2.0), (NV_COUNT, 5.0)):
        assert merge((of(metric, 2), of(metric, 3))) == of(metric, together)


EVENTS = st.lists(
    st.tuples(st.integers(0, 2), st.sampled_from(["count", "tell", "die"]), st.integers(0, 100)), max_size=40
)


@given(EVENTS)
def test_what_only_grows_never_shrinks_whoever_dies(events: list[tuple[int, str, int]]) -> None:
    ledger = Ledger(merge, kept)
    counts = [0.0, 0.0, 0.0]
    told = [0.0, 0.0, 0.0]
    seen = expected = shown = 0.0
    for worker, event, number in events:
        if event == "count":
            counts[worker] += number
        elif event == "tell":
            told[worker] = counts[worker]
            page = merge((of(REQUESTS_RECEIVED, counts[worker]), of(BATCH_SIZE, counts[worker]), of(IN_FLIGHT, 1)))
            ledger.update(worker, page)
        else:
            ledger.end(worker)
            expected += told[worker]
            counts[worker] = told[worker] = 0.0
        total = ledger.total()
        shown = sum(total.get(str(REQUESTS_RECEIVED), {}).values())
        assert shown == sum(total.get(str(BATCH_SIZE), {}).values()) == expected + sum(told)
        assert shown >= seen
        seen = shown


def test_a_dead_worker_has_no_requests_in_flight() -> None:
    ledger = Ledger(merge, kept)
    ledger.update(0, of(IN_FLIGHT, 3))
    ledger.end(0)
    assert ledger.total() == {}
