import time

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from mooring_runtime.metrics import (
    METRICS,
    Aims,
    Capacity,
    Loaded,
    MetricsPage,
    SessionStats,
    WholePage,
    constant_labels,
    render,
)

OPENMETRICS = "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.1"
GPU = {name for name in METRICS if name.startswith(("nv_gpu_", "nv_energy_"))}
SESSIONS = {name for name in METRICS if name.startswith("mooring_session")}
LOADED = {"mooring_batch_limit", "mooring_batch_delay_seconds", "mooring_queue_limit"}
MEASURED = {"mooring_batch_curve_seconds", "mooring_run_mean_seconds", "mooring_run_cv2"}
STATES = {"mooring_state_rows_total", "mooring_state_device_bytes"}
CAPACITY = Capacity(limit=8, delay=0.002, curve=(0.001, 0.002), mean=0.004, variation=0.5, queue=20)
Labels = frozenset[tuple[str, str]]


def samples(page: MetricsPage) -> dict[tuple[str, Labels], float]:
    text, _ = WholePage(page.page, lambda: (2, 1, 3)).render()
    return {(s.name, frozenset(s.labels.items())): s.value for f in parse_text(text.decode()) for s in f.samples}


def labels(**more: str) -> Labels:
    return frozenset({"model": "m", "version": "1", **more}.items())


def loaded_page() -> MetricsPage:
    page = MetricsPage()
    page.add("m", "1")
    page.loads.loaded("m", "1", Loaded("CPU", "onnx", 0.5))
    return page


def test_every_metric_stands_there_before_the_first_request() -> None:
    found = samples(loaded_page())
    told = {name for name, _ in found}
    for name in set(METRICS) - GPU - SESSIONS - LOADED - MEASURED - STATES - {"mooring_latency_target_seconds"}:
        assert told & {name, f"{name}_count"}, name
    assert found["mooring_requests_received_total", labels()] == 0
    assert found["mooring_requests_rejected_total", labels(cause="queue_full")] == 0
    assert found["nv_inference_request_failure", labels(reason="BACKEND")] == 0


def test_every_sample_is_of_a_metric_that_is_told() -> None:
    names = {metric.name + suffix for metric in METRICS.values() for suffix in ("", "_bucket", "_sum", "_count")}
    assert {name for name, _ in samples(loaded_page())} <= names


def test_states_on_a_device_are_told_of_models_that_keep_some_there() -> None:
    page = loaded_page()
    stats = page.add("m", "1")
    assert not STATES & {name for name, _ in samples(page)}
    stats.state_bytes = lambda: 4096
    stats.observe_states(3, 1)
    stats.observe_states(2, 0)
    found = samples(page)
    assert found["mooring_state_rows_total", labels(place="device")] == 5
    assert found["mooring_state_rows_total", labels(place="host")] == 1
    assert found["mooring_state_device_bytes", labels()] == 4096


def test_numbers_reach_the_page() -> None:
    page = loaded_page()
    stats = page.add("m", "1")
    stats.received = 7
    stats.rejected["queue_full"] += 2
    stats.inferences = 5
    stats.successes = 4
    stats.load = lambda: (3, 1)
    stats.age = lambda: 0.25
    stats.compute.observe(0.004)
    stats.batch.observe(3)
    stats.infer_seconds = 0.016
    found = samples(page)
    assert found["mooring_requests_received_total", labels()] == 7
    assert found["mooring_requests_rejected_total", labels(cause="queue_full")] == 2
    assert found["nv_inference_count", labels()] == 5
    assert found["mooring_queue_depth", labels()] == 3
    assert found["mooring_queue_oldest_seconds", labels()] == 0.25
    assert found["nv_inference_pending_request_count", labels()] == 3
    assert found["mooring_in_flight", labels()] == 1
    assert found["nv_inference_compute_infer_duration_us", labels()] == 16000
    assert found["mooring_compute_seconds_bucket", labels(le="0.0025")] == 0
    assert found["mooring_compute_seconds_bucket", labels(le="0.005")] == 1
    assert found["mooring_compute_seconds_count", labels()] == 1
    assert found["mooring_compute_seconds_sum", labels()] == 0.004
    assert found["mooring_batch_size_bucket", labels(le="4")] == 1
    assert found["mooring_workers_ready", frozenset()] == 1
    assert found["mooring_worker_restarts_total", frozenset()] == 3


def test_the_page_tells_of_capacity_what_is_known() -> None:
    page = loaded_page()
    stats = page.add("m", "1")
    assert not (LOADED | MEASURED) & {name for name, _ in samples(page)}
    # A rule would take a run of 0 s for a model that costs nothing.
    stats.capacity = lambda: CAPACITY._replace(curve=None, mean=0.0, variation=0.0)
    assert (LOADED | MEASURED) & {name for name, _ in samples(page)} == LOADED
    stats.capacity = lambda: CAPACITY
    found = samples(page)
    assert found["mooring_batch_limit", labels()] == 8
    assert found["mooring_batch_delay_seconds", labels()] == 0.002
    assert found["mooring_queue_limit", labels()] == 20
    assert found["mooring_batch_curve_seconds", labels(term="a")] == 0.001
    assert found["mooring_batch_curve_seconds", labels(term="b")] == 0.002
    assert found["mooring_run_mean_seconds", labels()] == 0.004
    assert found["mooring_run_cv2", labels()] == 0.5


def test_the_target_is_a_bound_of_the_latency() -> None:
    page = MetricsPage(Aims(0.08))
    page.add("m", "1").observe_requests([0.0, 0.04], 0.1, 0.115)
    found = samples(page)
    assert found["mooring_latency_target_seconds", frozenset()] == 0.08
    assert found["mooring_request_seconds_bucket", labels(le="0.08")] == 1
    assert found["mooring_request_seconds_bucket", labels(le="0.1")] == 1
    assert found["mooring_request_seconds_bucket", labels(le="0.25")] == 2
    assert found["mooring_request_seconds_count", labels()] == 2
    assert ("mooring_queue_seconds_bucket", labels(le="0.08")) not in found
    assert ("mooring_request_seconds_bucket", labels(le="0.08")) not in samples(loaded_page())


@pytest.mark.parametrize(("target", "more"), [(0.08, []), (5.0, []), (8.0, ["16.0"]), (600.0, ["600.0", "1200.0"])])
def test_a_latency_far_above_a_long_target_is_seen_to_be_above_it(target: float, more: list[str]) -> None:
    page = MetricsPage(Aims(target))
    page.add("m", "1")
    bounds = [dict(found).get("le", "") for name, found in samples(page) if name == "mooring_request_seconds_bucket"]
    assert [bound for bound in bounds if 10.0 < float(bound) < float("inf")] == more


@pytest.mark.parametrize("accept", ["", OPENMETRICS])
def test_every_sample_tells_whose_it_is(accept: str) -> None:
    page, _ = page_of_sessions()
    page.add("m", "1").capacity = lambda: CAPACITY
    whole = WholePage(page.page, lambda: (2, 1, 3), constant_labels("shop", "models"))
    text, _ = whole.render(accept)
    parse = parse_openmetrics if accept else parse_text
    found = [sample for family in parse(text.decode()) for sample in family.samples]
    assert {"nv_inference_count", "request_predict_seconds_bucket", "process_open_fds", "mooring_workers"} <= {
        sample.name for sample in found
    }
    for sample in found:
        assert (sample.labels["mooring_service"], sample.labels["mooring_namespace"]) == ("shop", "models"), sample


def test_outside_of_kubernetes_no_sample_tells_whose_it_is() -> None:
    text, _ = WholePage(loaded_page().page, lambda: (2, 1, 3), constant_labels("", "")).render()
    assert b"mooring_service=" not in text
    assert b"mooring_namespace=" not in text


def test_the_loop_is_counted_where_it_runs() -> None:
    before = samples(MetricsPage())["mooring_loop_seconds_total", frozenset()]
    until = time.thread_time() + 0.02
    while time.thread_time() < until:
        pass
    assert samples(MetricsPage())["mooring_loop_seconds_total", frozenset()] >= before + 0.02


def test_loads_tell_where_a_model_runs() -> None:
    page = loaded_page()
    page.loads.failed("m")
    found = samples(page)
    assert found["mooring_model_info", labels(device="CPU", format="onnx")] == 1
    assert found["nv_model_load_duration_secs", labels()] == 0.5
    assert found["mooring_model_loads_total", frozenset({("model", "m"), ("outcome", "failure")})] == 1
    page.loads.unloaded("m", "1")
    found = samples(page)
    assert ("nv_model_load_duration_secs", labels()) not in found
    assert found["mooring_model_loads_total", frozenset({("model", "m"), ("outcome", "success")})] == 1


def test_a_model_that_is_loaded_again_counts_on() -> None:
    page = MetricsPage()
    page.add("m", "1").received = 5
    assert page.add("m", "1").received == 5


def test_kserve_names_take_the_versions_of_a_model_together() -> None:
    page = MetricsPage()
    for version in "12":
        stats = page.add("m", version)
        stats.observe_run(samples=8, requests=3, gather=0.125, infer=0.2, scatter=0.0)
        stats.successes += 3
    found = samples(page)
    for name, total in (("preprocess", 0.75), ("predict", 1.2), ("postprocess", 0.0)):
        assert found[f"request_{name}_seconds_count", frozenset({("model_name", "m")})] == 6
        assert found[f"request_{name}_seconds_sum", frozenset({("model_name", "m")})] == pytest.approx(total)
    buckets = {
        bound: found["request_predict_seconds_bucket", frozenset({("model_name", "m"), ("le", bound)})]
        for bound in ("0.1", "0.25", "+Inf")
    }
    assert buckets == {"0.1": 0, "0.25": 6, "+Inf": 6}


def test_the_machine_is_measured() -> None:
    found = samples(MetricsPage())
    assert 0 <= found["nv_cpu_utilization", frozenset()] <= 1
    assert 0 < found["nv_cpu_memory_used_bytes", frozenset()] < found["nv_cpu_memory_total_bytes", frozenset()]


def test_triton_names_keep_their_spelling() -> None:
    text, content_type = render(loaded_page().page())
    assert content_type.startswith("text/plain; version=0.0.4")
    assert b'\nnv_inference_request_success{model="m",version="1"} 0.0\n' in text
    assert b"nv_inference_request_success_total" not in text
    assert b"# TYPE mooring_requests_received_total counter\n" in text


def test_openmetrics_for_who_asks() -> None:
    page = loaded_page()
    page.add("m", "2").batch.observe(2)
    text, content_type = render(page.page(), OPENMETRICS)
    assert content_type.startswith("application/openmetrics-text; version=1.0.0")
    parsed = parse_openmetrics(text.decode())  # type: ignore[no-untyped-call]
    families = {family.name: family for family in parsed}
    assert families["mooring_requests_received"].type == "counter"
    assert families["mooring_batch_size"].type == "histogram"
    assert "nv_inference_count" in families


def page_of_sessions() -> tuple[MetricsPage, SessionStats]:
    page = loaded_page()
    page.sessions = stats = SessionStats()
    stats.sessions = lambda: {("m", "active"): 3, ("m", "moving"): 1}
    stats.tiers = lambda: {"memory": 10, "disk": 20}
    stats.volume = lambda: {"limit": 100, "free": 70}
    stats.membership = lambda: {"epoch": 7, "size": 2, "foreign": 1}
    return page, stats


def test_sessions_are_told_only_where_there_are_some() -> None:
    assert not SESSIONS & {name for name, _ in samples(loaded_page())}
    page, stats = page_of_sessions()
    stats.handoffs["out", "taken"] += 1
    stats.forwards["answered"] += 1
    stats.refused["m", "gap"] += 1
    told = {name for name, _ in samples(page)}
    for name in SESSIONS:
        assert told & {name, f"{name}_count"}, name
    text, _ = render(page.page(), OPENMETRICS)
    families = {family.name for family in parse_openmetrics(text.decode())}  # type: ignore[no-untyped-call]
    assert {name.removesuffix("_total") for name in SESSIONS} <= families


def test_numbers_of_sessions_reach_the_page() -> None:
    page, stats = page_of_sessions()
    stats.created["m"] += 4
    stats.ended["m", "evicted"] += 2
    stats.evicted["m", "bytes"] += 2
    stats.steps["m"] += 9
    stats.repeats["m"] += 1
    stats.handoffs["in", "taken"] += 5
    stats.unsynced = lambda: 0.5
    stats.quarantined = lambda: 6
    stats.observe_commit(0.002, 3)
    stats.restore.observe(0.02)
    found = samples(page)

    def of(name: str, **named: str) -> float:
        return found[name, frozenset(named.items())]

    assert of("mooring_sessions", model="m", state="active") == 3
    assert of("mooring_sessions", model="m", state="ended") == 0
    assert of("mooring_sessions_started_total", model="m") == 4
    assert of("mooring_sessions_ended_total", model="m", cause="evicted") == 2
    assert of("mooring_sessions_ended_total", model="m", cause="expired") == 0
    assert of("mooring_sessions_evicted_total", model="m", limit="bytes") == 2
    assert of("mooring_sessions_quarantined") == 6
    assert of("mooring_sessions_foreign") == 1
    assert of("mooring_session_steps_total", model="m") == 9
    assert of("mooring_session_repeats_total", model="m") == 1
    assert of("mooring_session_bytes", tier="disk") == 20
    assert of("mooring_session_volume_bytes", room="free") == 70
    assert of("mooring_session_handoffs_total", direction="in", outcome="taken") == 5
    assert of("mooring_session_unsynced_seconds") == 0.5
    assert (of("mooring_session_epoch"), of("mooring_session_members")) == (7, 2)
    assert of("mooring_session_commit_seconds_bucket", le="0.001") == 0
    assert of("mooring_session_commit_seconds_bucket", le="0.0025") == 1
    assert of("mooring_session_commit_size_sum") == 3
    assert of("mooring_session_restore_seconds_count") == 1
