import math
from collections.abc import Hashable

from hypothesis import given
from hypothesis import strategies as st

from mooring_runtime.scheduling import ALONE, DEFAULT_LEVEL, Job
from mooring_runtime.scheduling.lanes import Lanes

FULL = 8


def job(like: Hashable = (), rows: int = 1, arrived: float = 0.0) -> Job:
    made = Job()
    made.like, made.rows, made.arrived = like, rows, arrived
    return made


def lanes_of(*jobs: Job, full: int = FULL) -> Lanes:
    lanes = Lanes(full)
    for each in jobs:
        lanes.push(each)
    return lanes


@st.composite
def queues(draw: st.DrawFn) -> list[Job]:
    jobs = []
    for index in range(draw(st.integers(1, 30))):
        like = draw(st.sampled_from([(), ("a",), ("b",), ALONE]))
        made = job(like, draw(st.integers(1, FULL)) if like is not ALONE else draw(st.integers(0, 99)), float(index))
        made.level = draw(st.sampled_from([1, DEFAULT_LEVEL, 50]))
        made.deadline = draw(st.sampled_from([math.inf, 5.0, 100.0]))
        jobs.append(made)
    return jobs


NOW = 50.0


@given(queues())
def test_every_job_leaves_once_either_run_or_too_late(jobs: list[Job]) -> None:
    lanes = lanes_of(*jobs)
    ran: list[Job] = []
    late: list[Job] = []
    while lanes.count:
        batch, expired = lanes.take(NOW)
        assert batch or expired
        ran += batch
        late += expired
    assert sorted(map(id, ran + late)) == sorted(map(id, jobs))
    assert all(each.deadline > NOW for each in ran)
    assert all(each.deadline <= NOW for each in late)
    assert lanes.oldest() is None


@given(queues())
def test_a_run_is_never_too_large_and_never_mixes_what_differs(jobs: list[Job]) -> None:
    lanes = lanes_of(*jobs)
    while lanes.count:
        batch, _ = lanes.take(NOW)
        assert len({each.like for each in batch}) <= 1
        if len(batch) > 1:
            assert sum(each.rows for each in batch) <= FULL
            assert batch[0].like is not ALONE


@given(queues())
def test_the_next_run_is_the_most_urgent_and_then_the_oldest(jobs: list[Job]) -> None:
    lanes = lanes_of(*jobs)
    waiting = list(jobs)
    while lanes.count:
        batch, late = lanes.take(NOW)
        first = min(waiting, key=lambda each: (each.level, each.arrived))
        assert first in batch or first in late
        for each in batch + late:
            waiting.remove(each)
        for each in batch:  # Whoever is alike and was left behind is not more urgent and did not come earlier.
            for other in waiting:
                if other.like == each.like:
                    assert (each.level, each.arrived) < (other.level, other.arrived)


@given(queues(), st.data())
def test_jobs_that_are_taken_back_never_run(jobs: list[Job], data: st.DataObject) -> None:
    lanes = lanes_of(*jobs)
    gone = data.draw(st.lists(st.sampled_from(jobs), unique_by=id))
    for each in gone:
        lanes.remove(each)
    assert lanes.count == len(jobs) - len(gone)
    while lanes.count:
        batch, late = lanes.take(NOW)
        assert not any(each is other for each in batch + late for other in gone)


@given(queues())
def test_the_lead_tells_what_the_next_run_will_hold(jobs: list[Job]) -> None:
    for each in jobs:
        each.deadline = math.inf
    lanes = lanes_of(*jobs)
    while lanes.count:
        like, rows = lanes.lead()
        batch, _ = lanes.take(NOW)
        assert batch[0].like == like
        assert rows >= FULL or rows == sum(each.rows for each in batch)


def test_a_shape_does_not_starve_another() -> None:
    rare = job("rare", arrived=0.5)
    lanes = lanes_of(*[job("usual", arrived=0.0)] * FULL, rare)
    for turn in range(1, 5):
        lanes.push(job("usual", arrived=float(turn)))
    lanes.take(NOW)
    assert lanes.take(NOW)[0] == [rare]


def test_room_is_filled_with_less_urgent_jobs_of_the_same_shape() -> None:
    urgent, plain = job(arrived=2.0), job(arrived=1.0)
    urgent.level = 1
    assert lanes_of(plain, urgent).take(NOW)[0] == [urgent, plain]
    assert lanes_of(plain, urgent, full=1).take(NOW)[0] == [urgent]


def test_a_job_larger_than_a_run_goes_alone() -> None:
    large, small = job(rows=FULL + 5), job(arrived=1.0)
    lanes = lanes_of(large, small)
    assert lanes.take(NOW)[0] == [large]
    assert lanes.take(NOW)[0] == [small]


def test_the_oldest_is_found_behind_more_urgent_ones() -> None:
    urgent = job(arrived=2.0)
    urgent.level = 1
    assert lanes_of(job(arrived=1.0), urgent).oldest() == 1.0
