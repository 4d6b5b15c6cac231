"""The ServiceMonitor: how the Prometheus operator finds the metrics of a service's pods."""

from typing import Final

from ..api import names
from ..facts import Cluster, Manifest, Service
from .metadata import metadata

SAMPLES: Final = 2000
"""Samples of one page at most; a server's own has about 200."""
LABELS: Final = 30
"""Labels of one series at most, those of the scraper included."""
LABEL_LENGTH: Final = 512
"""Characters of one value of a label at most; a pod's name may have 253."""
_FROM = "__meta_kubernetes_namespace"


def service_monitor(service: Service, cluster: Cluster) -> Manifest | None:
    """Return the ServiceMonitor; None where the cluster does not know the kind.

    It goes by one Service alone, whose pods are the replicas: with two of them each pod would be scraped twice, and
    every sum be twice as high. Prometheus scrapes what is not ready, so that the first requests are counted from 0.
    Whose series they are is said by the scraper, not by the page: a pod that calls itself another namespace's would
    move replicas that are not its own.
    """
    if not cluster.service_monitors:
        return None
    its_metadata = metadata(service)
    # Its own labels win: by them the operator finds it again.
    its_metadata["labels"] = {**cluster.monitor_labels, **its_metadata["labels"]}
    return {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "ServiceMonitor",
        "metadata": its_metadata,
        "spec": {
            "selector": {"matchLabels": {names.LABEL_SERVICE: service.name, names.LABEL_SCRAPED: "true"}},
            # A page that claims to be thousands of services would make answers too long to read, for all of them.
            "sampleLimit": SAMPLES,
            "labelLimit": LABELS,
            "labelValueLengthLimit": LABEL_LENGTH,
            "endpoints": [
                {
                    "targetPort": names.METRICS_PORT,
                    "path": names.PATH_METRICS,
                    "interval": _duration(cluster.scrape_seconds),
                    "relabelings": [{"sourceLabels": [_FROM], "targetLabel": names.METRIC_LABEL_NAMESPACE}],
                    # What the page itself said, which Prometheus keeps under this name.
                    "metricRelabelings": [{"action": "labeldrop", "regex": f"exported_{names.METRIC_LABEL_NAMESPACE}"}],
                }
            ],
        },
    }


def _duration(seconds: float) -> str:
    return f"{seconds:.0f}s" if seconds == round(seconds) else f"{round(seconds * 1000)}ms"
