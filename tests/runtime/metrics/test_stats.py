from mooring_runtime.metrics import BUCKETS, Histogram


def test_a_bound_belongs_to_its_own_bucket() -> None:
    histogram = Histogram()
    for bound in BUCKETS:
        histogram.observe(bound)
    histogram.observe(11.0)
    assert histogram.counts == [1] * (len(BUCKETS) + 1)
    assert list(histogram.cumulative())[-1] == ("+Inf", len(BUCKETS) + 1)
