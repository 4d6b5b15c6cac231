"""The page that Prometheus reads, in its own text format or, when asked for, as OpenMetrics."""

from collections.abc import Callable, Iterator, Mapping

from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import Metric as Family
from prometheus_client.registry import Collector

from mooring_runtime.metrics import collect, names
from mooring_runtime.metrics.capacity import Aims
from mooring_runtime.metrics.loads import Loads
from mooring_runtime.metrics.machine import Machine
from mooring_runtime.metrics.names import METRICS, Kind
from mooring_runtime.metrics.pages import Page, merge
from mooring_runtime.metrics.sessions import SessionStats
from mooring_runtime.metrics.stats import ModelStats

NO_LABELS: Mapping[str, str] = {}


class _Families(Collector):
    """A page in the form that prometheus_client writes."""

    def __init__(self, page: Page, constant: Mapping[str, str]) -> None:
        self._page = page
        self._constant = constant

    def collect(self) -> Iterator[Family]:
        for metric in METRICS.values():
            samples = self._page.get(metric.name, {})
            if not samples:
                continue
            # The format's own name of a counter lacks the suffix that its sample has.
            name = metric.name.removesuffix("_total") if metric.kind is Kind.COUNTER else metric.name
            family = Family(name, metric.help, metric.kind.value)
            for (suffix, values), value in samples.items():
                named = (*metric.labels, "le") if suffix == "_bucket" else metric.labels
                labels = dict(zip(named, values, strict=True))
                family.add_sample(metric.name + suffix, {**labels, **self._constant}, value)
            yield family


def constant_labels(service: str, namespace: str) -> dict[str, str]:
    """The labels that each sample has beside its own: whose it is, as the operator knows it; none of an empty text.

    `service` and `namespace` belong to the scraper, which may rename them: hence the names of our own.
    """
    told = {names.SERVICE_LABEL: service, names.NAMESPACE_LABEL: namespace}
    return {label: value for label, value in told.items() if value}


def render(page: Page, accept: str = "", constant: Mapping[str, str] = NO_LABELS) -> tuple[bytes, str]:
    """(text, its content type), in the format that the header `Accept` prefers of those that there are.

    `constant`: labels that each sample has beside its own.
    """
    encode, content_type = choose_encoder(accept)
    return encode(_Families(page, constant)), content_type


class MetricsPage:
    """What one process counts: its models, their loads, and the process itself."""

    def __init__(self, aims: Aims = Aims()) -> None:  # noqa: B008 - immutable
        self._aims = aims
        self._models: dict[tuple[str, str], ModelStats] = {}
        self.loads = Loads()
        self.sessions: SessionStats | None = None
        """Where sessions are kept here; else the page does not tell of them."""

    def add(self, model: str, version: str) -> ModelStats:
        """Numbers for a model that is configured; they show as 0 from now on, before its first request.

        The same model again has the same numbers: a counter must not begin anew when a model is reloaded.
        """
        return self._models.setdefault((model, version), ModelStats(model, version, self._aims))

    def models(self) -> list[ModelStats]:
        """The numbers of every model that was ever configured."""
        return list(self._models.values())

    def page(self) -> Page:
        """The numbers now. To be called on the event loop, which is one of those who are counted."""
        pages = [
            collect.of_models(self._models.values()),
            collect.of_loads(self.loads),
            collect.of_loop(self._aims.target),
            collect.of_process(),
        ]
        if self.sessions is not None:
            pages.append(collect.of_sessions(self.sessions))
        return merge(pages)


class WholePage:
    """What /metrics shows of a server: the numbers of its processes, how many there are, and those of the machine."""

    def __init__(
        self,
        processes: Callable[[], Page],
        workers: Callable[[], tuple[int, int, int]],
        constant: Mapping[str, str] = NO_LABELS,
    ) -> None:
        """`workers` gives how many there should be, how many are ready, and how often one was started anew;
        `constant` are labels of every sample, as `constant_labels` gives them.
        """
        self._processes = processes
        self._workers = workers
        self._constant = constant
        self._machine = Machine()

    def render(self, accept: str = "") -> tuple[bytes, str]:
        """See `render`."""
        metrics = (names.WORKERS, names.WORKERS_READY, names.WORKER_RESTARTS)
        counts: Page = {
            metric.name: {("", ()): float(count)} for metric, count in zip(metrics, self._workers(), strict=True)
        }
        return render(merge((self._processes(), counts, self._machine.page())), accept, self._constant)
