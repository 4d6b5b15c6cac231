"""The ScaledObject, from which KEDA makes the HorizontalPodAutoscaler where it serves the external metrics."""

from ..api import names
from ..facts import Cluster, Manifest, Service, Step
from ..scaling.scraping import Scraping, matchers_of
from ..scaling.series import query
from ..scaling.wishes import External, externals
from .autoscaler import behavior, marks, target
from .metadata import metadata

_POLLING = 15
"""Seconds between two looks of KEDA: those of the autoscaler itself."""


def scaled_object(service: Service, cluster: Cluster, step: Step) -> Manifest | None:
    """Return the ScaledObject; None unless KEDA is the one who scales, and nothing else still does."""
    scaling, scaler = service.spec.scaling, step.scaler
    if scaling is None or scaling.max_replicas is None or not scaler.keda or scaler.waits:
        return None
    triggers = [_trigger(service, cluster, each) for each in externals(service, scaler)]
    if scaling.cpu is not None:
        value = {"value": str(scaling.cpu.target), "containerName": names.CONTAINER_SERVER}
        triggers.append({"type": "cpu", "metricType": "Utilization", "metadata": value})
    return {
        "apiVersion": "keda.sh/v1alpha1",
        "kind": "ScaledObject",
        "metadata": metadata(service, annotations=marks(scaler)),
        "spec": {
            "scaleTargetRef": target(service),
            "pollingInterval": _POLLING,
            "minReplicaCount": scaling.min_replicas,
            "maxReplicaCount": scaling.max_replicas,
            # Never the name of our own autoscaler: KEDA takes over one that it finds, and we would see somebody else's.
            "advanced": {
                "horizontalPodAutoscalerConfig": {
                    "name": f"{names.PREFIX_KEDA_AUTOSCALER}{service.name}",
                    "behavior": behavior(service, cluster, scaler),
                }
            },
            "triggers": triggers,
        },
    }


def _trigger(service: Service, cluster: Cluster, external: External) -> Manifest:
    scraping = Scraping(cluster.scrape_seconds, matchers_of(cluster.prometheus_labels))
    told = {
        "serverAddress": cluster.prometheus_url,
        "query": query(external.metric, service, scraping),
        "threshold": f"{external.per_replica:g}",
        # KEDA would take no answer for 0, and the fleet would be taken away while nobody can see it.
        "ignoreNullValues": "false",
    }
    trigger: Manifest = {"type": "prometheus", "metricType": "AverageValue", "metadata": told}
    if (access := cluster.keda_access) is not None:
        trigger["authenticationRef"] = {"kind": access.kind, "name": access.name}
        # KEDA uses nothing of a TriggerAuthentication, its authority included, without a mode.
        told |= {"authModes": access.modes} if access.modes else {}
    return trigger
