from prometheus_client.parser import text_string_to_metric_families

from mooring_runtime import metrics
from mooring_runtime.metrics import BUCKETS, Histogram, MetricsPage

NAMES = {
    value for name, value in vars(metrics).items() if name.isupper() and str(value).startswith(("mooring_", "nv_"))
}


def samples(page: MetricsPage) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    families = text_string_to_metric_families(page.render().decode())
    return {(s.name, frozenset(s.labels.items())): s.value for family in families for s in family.samples}


def labels(**more: str) -> frozenset[tuple[str, str]]:
    return frozenset({"model": "m", "version": "1", **more}.items())


def test_every_metric_stands_at_zero_before_the_first_request() -> None:
    page = MetricsPage()
    page.add("m", "1")
    found = samples(page)
    told = {name for name, _ in found}
    for name in NAMES:
        assert told & {name, f"{name}_count"}, name
    assert found["mooring_requests_received_total", labels()] == 0
    assert found["mooring_requests_rejected_total", labels(cause="queue_full")] == 0
    assert found["nv_inference_request_failure", labels(reason="BACKEND")] == 0
    assert "process_resident_memory_bytes" in told


def test_numbers_reach_the_page() -> None:
    page = MetricsPage()
    stats = page.add("m", "1")
    stats.received = 7
    stats.rejected["queue_full"] += 2
    stats.inferences = 5
    stats.load = lambda: (3, 1)
    stats.compute.observe(0.004)
    found = samples(page)
    assert found["mooring_requests_received_total", labels()] == 7
    assert found["mooring_requests_rejected_total", labels(cause="queue_full")] == 2
    assert found["nv_inference_count", labels()] == 5
    assert found["mooring_queue_depth", labels()] == 3
    assert found["nv_inference_pending_request_count", labels()] == 3
    assert found["mooring_in_flight", labels()] == 1
    assert found["nv_inference_compute_infer_duration_us", labels()] == 4000
    assert found["mooring_compute_seconds_bucket", labels(le="0.0025")] == 0
    assert found["mooring_compute_seconds_bucket", labels(le="0.005")] == 1
    assert found["mooring_compute_seconds_count", labels()] == 1
    assert found["mooring_compute_seconds_sum", labels()] == 0.004


def test_a_bound_belongs_to_its_own_bucket() -> None:
    histogram = Histogram()
    for bound in BUCKETS:
        histogram.observe(bound)
    histogram.observe(11.0)
    assert histogram.counts == [1] * (len(BUCKETS) + 1)
    assert list(histogram.cumulative())[-1] == ("+Inf", len(BUCKETS) + 1)


def test_triton_names_keep_their_spelling() -> None:
    page = MetricsPage()
    page.add("m", "1")
    text = page.render().decode()
    assert '\nnv_inference_request_success{model="m",version="1"} 0.0\n' in text
    assert "nv_inference_request_success_total" not in text
