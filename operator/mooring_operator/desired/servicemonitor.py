"""The ServiceMonitor: how the Prometheus operator finds the metrics of a service's pods."""

from ..api import names
from ..facts import Cluster, Manifest, Service
from .metadata import metadata

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
