"""Every metric of the runtime, once: its name, what it counts, and how the pages of several workers become one.

Dashboards, scaling rules and perf_analyzer read these names. The table in `docs/metrics.md` is made from here.
"""

import enum
from collections.abc import Iterator
from dataclasses import dataclass


class Kind(enum.Enum):
    """What a metric is; the value is Prometheus' word."""

    COUNTER = "counter"
    """Only grows. Its name ends in `_total`."""
    TRITON = "unknown"
    """Only grows, under a name of Triton's: those lack the `_total` that the format wants of counters."""
    HISTOGRAM = "histogram"
    SUMMARY = "summary"
    """A sum and a count, without quantiles."""
    GAUGE = "gauge"


class Merge(enum.Enum):
    """What several workers' values of one gauge become."""

    SUM = "sum"
    MAX = "largest"
    MIN = "smallest"


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric. `merge` concerns gauges: everything else is added up, also over workers that have ended."""

    name: str
    kind: Kind
    help: str
    labels: tuple[str, ...] = ()
    merge: Merge = Merge.SUM

    def __str__(self) -> str:
        return self.name

    @property
    def kept(self) -> bool:
        """Whether the values of a worker that has ended still count: else a counter would go down at its end."""
        return self.kind is not Kind.GAUGE


SERVICE_LABEL = "mooring_service"
NAMESPACE_LABEL = "mooring_namespace"
"""Every sample has these two, where the settings tell the service and its namespace."""
MODEL = ("model", "version")
_C, _T, _H, _S, _G = Kind.COUNTER, Kind.TRITON, Kind.HISTOGRAM, Kind.SUMMARY, Kind.GAUGE

REQUESTS_RECEIVED = Metric(
    "mooring_requests_received_total",
    _C,
    "Requests that named the model, before anything was decided about them; 0 from the start of the process.",
    MODEL,
)
REQUESTS_REJECTED = Metric(
    "mooring_requests_rejected_total", _C, "Requests refused before they ran, by cause.", (*MODEL, "cause")
)
REPLIES = Metric(
    "mooring_replies_total",
    _C,
    "Answers of successful requests; a model that streams gives any number to one.",
    MODEL,
)
IN_FLIGHT = Metric("mooring_in_flight", _G, "Requests that run now.", MODEL)
QUEUE_DEPTH = Metric("mooring_queue_depth", _G, "Requests that wait to run.", MODEL)
QUEUE_OLDEST = Metric(
    "mooring_queue_oldest_seconds", _G, "How long the request that waits longest has waited.", MODEL, Merge.MAX
)
REQUEST_SECONDS = Metric(
    "mooring_request_seconds", _H, "From a request's last byte to its answer; successful requests.", MODEL
)
QUEUE_SECONDS = Metric(
    "mooring_queue_seconds", _H, "From admission to the start of the run; successful requests.", MODEL
)
COMPUTE_SECONDS = Metric("mooring_compute_seconds", _H, "One run of the model, however many requests it served.", MODEL)
BATCH_SIZE = Metric("mooring_batch_size", _H, "Samples of each run, without padding.", MODEL)
BATCH_CURVE = Metric(
    "mooring_batch_curve_seconds",
    _G,
    "Learned run time: nine runs of n samples in ten take at most a + b n seconds; `term` is a or b. None before the "
    "first run.",
    (*MODEL, "term"),
    Merge.MAX,
)
BATCH_LIMIT = Metric(
    "mooring_batch_limit", _G, "Most samples of one run; 1 where requests do not share runs.", MODEL, Merge.MIN
)
BATCH_DELAY = Metric(
    "mooring_batch_delay_seconds",
    _G,
    "Longest that a request may wait for others although the model is free; 0 where nobody has set it, for then no "
    "request waits that comes at random.",
    MODEL,
    Merge.MAX,
)
RUN_MEAN = Metric(
    "mooring_run_mean_seconds", _G, "Mean time of the last few hundred runs. None before the first.", MODEL, Merge.MAX
)
RUN_VARIATION = Metric(
    "mooring_run_cv2",
    _G,
    "Squared coefficient of variation of the time of those runs: their variance by the square of their mean.",
    MODEL,
    Merge.MAX,
)
INPUT_BYTES = Metric("mooring_input_bytes_total", _C, "Bytes of the tensors of admitted requests.", MODEL)
OUTPUT_BYTES = Metric("mooring_output_bytes_total", _C, "Bytes of the tensors answered.", MODEL)
STATE_ROWS = Metric(
    "mooring_state_rows_total",
    _C,
    "States that runs began with, by where they were: device (there since the step that left them) or host (sent). Of "
    "models that keep states on a GPU.",
    (*MODEL, "place"),
)
STATE_DEVICE_BYTES = Metric(
    "mooring_state_device_bytes",
    _G,
    "Bytes of the GPU's memory that a model keeps for states between steps. 0: it was to keep some, and cannot; its "
    "log says why.",
    MODEL,
)
MODEL_READY = Metric("mooring_model_ready", _G, "1 when the model answers requests.", MODEL, Merge.MIN)
MODEL_INFO = Metric(
    "mooring_model_info",
    _G,
    "1; the labels tell where the loaded model really runs, so that a fall-back to the CPU is seen.",
    (*MODEL, "device", "format"),
    Merge.MAX,
)
MODEL_LOADS = Metric(
    "mooring_model_loads_total", _C, "Loads that ended, by outcome: success or failure.", ("model", "outcome")
)
QUEUE_LIMIT = Metric(
    "mooring_queue_limit",
    _G,
    "Requests that may wait; one more is answered 503. With MOORING_LATENCY_TARGET it follows from the curve.",
    MODEL,
)
LATENCY_TARGET = Metric(
    "mooring_latency_target_seconds", _G, "What MOORING_LATENCY_TARGET says, where it is set.", (), Merge.MAX
)
LOOP_SECONDS = Metric(
    "mooring_loop_seconds_total",
    _C,
    "CPU seconds of the threads that read requests, write answers and make short runs: each worker has one, which has "
    "no more than one a second.",
)
WORKERS = Metric("mooring_workers", _G, "Processes that serve, as the settings say.")
WORKERS_READY = Metric("mooring_workers_ready", _G, "Those of them that answer requests now.")
WORKER_RESTARTS = Metric("mooring_worker_restarts_total", _C, "Workers started anew after one had died or hung.")

SESSIONS = Metric(
    "mooring_sessions",
    _G,
    "Sessions here by state: active, ended (its last replies are kept), moving to another replica, or moved there.",
    ("model", "state"),
)
SESSIONS_STARTED = Metric(
    "mooring_sessions_started_total", _C, "Sessions that began here: started, imported or forked.", ("model",)
)
SESSIONS_ENDED = Metric(
    "mooring_sessions_ended_total",
    _C,
    "Sessions that ended here, by cause: ended (by a client), expired, evicted, restarted.",
    ("model", "cause"),
)
SESSIONS_EVICTED = Metric(
    "mooring_sessions_evicted_total",
    _C,
    "Sessions evicted to make room, by the limit that was reached: sessions or bytes.",
    ("model", "limit"),
)
SESSIONS_QUARANTINED = Metric(
    "mooring_sessions_quarantined", _G, "Sessions set aside because what is on disk of them is torn or was changed."
)
SESSIONS_DROPPED = Metric(
    "mooring_sessions_dropped_total", _C, "Sessions that were set aside and that a person let be deleted.", ("model",)
)
SESSIONS_FOREIGN = Metric(
    "mooring_sessions_foreign", _G, "Sessions here that should be at another replica; they are served until they move."
)
SESSION_STEPS = Metric("mooring_session_steps_total", _C, "Steps that were applied.", ("model",))
SESSION_REPEATS = Metric(
    "mooring_session_repeats_total", _C, "Steps that a client sent again and that were answered as before.", ("model",)
)
SESSION_REFUSED = Metric(
    "mooring_session_refused_total",
    _C,
    "Steps that were refused, by the cause that the client was told.",
    ("model", "cause"),
)
SESSION_BYTES = Metric(
    "mooring_session_bytes",
    _G,
    "Bytes of sessions by tier: disk has all of them, memory those used last.",
    ("tier",),
)
SESSION_VOLUME = Metric(
    "mooring_session_volume_bytes",
    _G,
    "Of the volume: `limit` is what sessions may take, `free` what its file system still has.",
    ("room",),
)
SESSION_COMMIT_SECONDS = Metric(
    "mooring_session_commit_seconds", _H, "One commit of the store, its sync included, however many changes it wrote."
)
SESSION_COMMIT_SIZE = Metric("mooring_session_commit_size", _H, "Changes of sessions that one commit wrote.")
SESSION_RESTORE_SECONDS = Metric(
    "mooring_session_restore_seconds", _H, "To read a session that was on disk only, for its next step."
)
SESSION_UNSYNCED = Metric(
    "mooring_session_unsynced_seconds",
    _G,
    "How long the oldest step that was answered has not been on disk; 0 where each is before its answer.",
    (),
    Merge.MAX,
)
SESSION_HANDOFFS = Metric(
    "mooring_session_handoffs_total",
    _C,
    "Sessions offered to or by another replica, by direction (in, out) and its answer; lost: none came.",
    ("direction", "outcome"),
)
SESSION_FORWARDS = Metric(
    "mooring_session_forwards_total",
    _C,
    "Requests passed on to the replica that has their session, by what came back.",
    ("outcome",),
)
SESSION_EPOCH = Metric(
    "mooring_session_epoch", _G, "Epoch of the membership record that this replica goes by.", (), Merge.MAX
)
SESSION_MEMBERS = Metric("mooring_session_members", _G, "Members in that record.", (), Merge.MAX)

NV_REQUEST_SUCCESS = Metric("nv_inference_request_success", _T, "Successful requests.", MODEL)
NV_REQUEST_FAILURE = Metric("nv_inference_request_failure", _T, "Failed requests, by reason.", (*MODEL, "reason"))
NV_COUNT = Metric("nv_inference_count", _T, "Samples computed: a batch of n counts n.", MODEL)
NV_EXEC_COUNT = Metric("nv_inference_exec_count", _T, "Runs of the model.", MODEL)
NV_REQUEST_DURATION = Metric(
    "nv_inference_request_duration_us", _T, "Microseconds of successful requests, from last byte to answer.", MODEL
)
NV_QUEUE_DURATION = Metric("nv_inference_queue_duration_us", _T, "Microseconds that those requests waited.", MODEL)
NV_COMPUTE_INPUT_DURATION = Metric(
    "nv_inference_compute_input_duration_us", _T, "Microseconds in which their tensors were put together.", MODEL
)
NV_COMPUTE_INFER_DURATION = Metric(
    "nv_inference_compute_infer_duration_us", _T, "Microseconds of their runs in the model.", MODEL
)
NV_COMPUTE_OUTPUT_DURATION = Metric(
    "nv_inference_compute_output_duration_us", _T, "Microseconds in which their results were cut apart.", MODEL
)
NV_PENDING_REQUEST_COUNT = Metric("nv_inference_pending_request_count", _G, "Requests that wait to run.", MODEL)
NV_MODEL_LOAD_DURATION = Metric(
    "nv_model_load_duration_secs", _G, "Seconds that the last load took, warm-up included.", MODEL, Merge.MAX
)
NV_CPU_UTILIZATION = Metric(
    "nv_cpu_utilization", _G, "Share of the machine's CPU time in use since the last look, 0 to 1."
)
NV_CPU_MEMORY_TOTAL = Metric("nv_cpu_memory_total_bytes", _G, "Memory of the machine.")
NV_CPU_MEMORY_USED = Metric("nv_cpu_memory_used_bytes", _G, "Memory of the machine in use.")

_GPU = ("gpu_uuid",)
NV_GPU_UTILIZATION = Metric("nv_gpu_utilization", _G, "Share of the last sample in which the GPU ran, 0 to 1.", _GPU)
NV_GPU_MEMORY_TOTAL = Metric("nv_gpu_memory_total_bytes", _G, "Memory of the GPU.", _GPU)
NV_GPU_MEMORY_USED = Metric("nv_gpu_memory_used_bytes", _G, "Memory of the GPU in use, by whomever.", _GPU)
NV_GPU_POWER_USAGE = Metric("nv_gpu_power_usage", _G, "Watts that the GPU draws.", _GPU)
NV_GPU_POWER_LIMIT = Metric("nv_gpu_power_limit", _G, "Watts that the GPU may draw.", _GPU)
NV_ENERGY_CONSUMPTION = Metric(
    "nv_energy_consumption", _T, "Joules that the GPU has used since its driver was loaded.", _GPU
)

_NAME = ("model_name",)
REQUEST_PREPROCESS = Metric(
    "request_preprocess_seconds", _S, "KServe's name: tensors of a request put together for its run.", _NAME
)
REQUEST_PREDICT = Metric("request_predict_seconds", _H, "KServe's name: the run that a request took part in.", _NAME)
REQUEST_POSTPROCESS = Metric(
    "request_postprocess_seconds", _S, "KServe's name: results of a request cut from those of its run.", _NAME
)

PROCESS_CPU = Metric("process_cpu_seconds_total", _C, "User and system CPU time spent in seconds.")
PROCESS_RESIDENT = Metric("process_resident_memory_bytes", _G, "Resident memory; shared pages count in each process.")
PROCESS_VIRTUAL = Metric("process_virtual_memory_bytes", _G, "Virtual memory.")
PROCESS_START = Metric("process_start_time_seconds", _G, "Start of the oldest process since 1970.", (), Merge.MIN)
PROCESS_OPEN_FDS = Metric("process_open_fds", _G, "Open files and sockets.")
PROCESS_MAX_FDS = Metric("process_max_fds", _G, "The most that each process may open.", (), Merge.MIN)


def _all() -> Iterator[Metric]:
    for value in list(globals().values()):
        if isinstance(value, Metric):
            yield value


METRICS = {metric.name: metric for metric in _all()}
"""Every metric by its name, in the order of the page."""
