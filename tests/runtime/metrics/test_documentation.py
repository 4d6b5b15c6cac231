"""docs/metrics.md is made from the metrics themselves: `make golden` writes it."""

from pathlib import Path

from mooring_runtime.metrics import BUCKETS, METRICS, Kind, Metric
from mooring_runtime.metrics.names import NAMESPACE_LABEL, SERVICE_LABEL
from mooring_runtime.metrics.stats import BATCH_BUCKETS

FILE = Path(__file__).parents[3] / "docs" / "metrics.md"

KINDS = {
    Kind.COUNTER: "counter",
    Kind.TRITON: "counter, untyped",
    Kind.HISTOGRAM: "histogram",
    Kind.SUMMARY: "sum and count",
    Kind.GAUGE: "gauge",
}
HEAD = f"""# Metrics of the server

Written by `make golden` from `runtime/mooring_runtime/metrics/names.py`; edit that file, not this one.

`/metrics` stands on port 8002, in Prometheus' text format or, for who asks, as OpenMetrics. Names that begin with `nv_`
are Triton's and those that begin with `request_` are KServe's, with their units, so that existing dashboards go on; the
others are our own. Triton's counters lack the suffix `_total` and are therefore shown without a type.

Each sample has two labels more, `{SERVICE_LABEL}` and `{NAMESPACE_LABEL}`, with what `MOORING_SERVICE` and
`MOORING_NAMESPACE` say; the operator sets both, and without them the labels are not there. The page can be read before
the models are loaded, with every counter at 0: a rate then sees the first request too.
`mooring_requests_received_total` counts each request of a client once: also one that is refused, and not again where it
is passed on to another replica.

The bounds of the histograms, in seconds:
{", ".join(f"{bound:g}" for bound in BUCKETS)};
`mooring_request_seconds` has one more where `MOORING_LATENCY_TARGET` is set, at the target, and one at twice the target
where that is above 10;
of batch sizes: {", ".join(map(str, BATCH_BUCKETS))}. Triton's names that are not here: those of its response cache,
which this server has not, its summaries, for which the histograms stand, and those of pinned memory.

With several workers one page shows all of them. What only grows is added up, over workers that have died too, so that
it never shrinks; the last column says what becomes of gauges. Rows on the machine (`nv_cpu_`, `nv_gpu_`, `nv_energy_`)
concern the whole node; those on GPUs need a GPU and the package `nvidia-ml-py`. Those on sessions (`mooring_session`)
are there where `MOORING_SESSION_PATH` is set; `mooring_session_commit_size` has the bounds of batch sizes.

| metric | kind | labels | what it is | several workers |
|---|---|---|---|---|
"""


def row(metric: Metric) -> str:
    labels = ", ".join(f"`{label}`" for label in metric.labels)
    merge = "" if metric.kept else metric.merge.value
    return f"| `{metric.name}` | {KINDS[metric.kind]} | {labels} | {metric.help} | {merge} |\n"


def test_the_page_tells_every_metric(update_golden: bool) -> None:
    text = HEAD + "".join(map(row, METRICS.values()))
    if update_golden:
        FILE.write_text(text)
    assert FILE.read_text() == text, f"{FILE.name} differs: if that is meant, run `make golden`"
