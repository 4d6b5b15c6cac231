"""Which autoscaler a service gets, and what stands in its way. Pure.

A cluster has one server of external metrics. Whose it is decides who can scale by latency, queue or concurrency: our
adapter and prometheus-adapter by a HorizontalPodAutoscaler of ours, KEDA by a ScaledObject. It is never taken over.
"""

import math
from typing import Final, Literal, NamedTuple

from ..api import names
from ..api.v1alpha1 import Scaling
from ..facts import Cluster, Manifest, MetricsApi, ObjectKey, Observed, Problem, Scaler, Service
from .answers import NO_CURVE
from .fallback import concurrency
from .look import Look

CURVELESS: Final = 120.0
"""Seconds for which replicas answer without a batch curve before the load stands for the rule: the runs of a warm-up
give a curve, and a change of the metric is worth avoiding."""

_HPA, _SCALED_OBJECT = "HorizontalPodAutoscaler", "ScaledObject"
_FIELD = "spec.scaling.backend"


class Standing(NamedTuple):
    """The objects that scale a service now; both for a moment, while one takes the place of the other."""

    hpa: Manifest | None = None
    scaled_object: Manifest | None = None

    def concurrency(self, keda: bool = False) -> float | None:
        """Return the concurrency that stands in place of the rule; None where the rule holds the target.

        Where both are there it is that of the one that is to stay, or else of the other one.
        """
        one, other = (self.scaled_object, self.hpa) if keda else (self.hpa, self.scaled_object)
        return concurrency_of(one) or concurrency_of(other)


class Choice(NamedTuple):
    """Who makes the autoscaler; None: whoever does now. And why it cannot work, where it cannot."""

    keda: bool | None
    problem: Problem | None = None


def scaler(service: Service, cluster: Cluster, observed: Observed, look: Look | None) -> Scaler:
    """Return the autoscaler of a service, where `look` is the newest, if there is one."""
    scaling, children = service.spec.scaling, observed.children
    if scaling is None or scaling.max_replicas is None:
        return Scaler()
    ours = children.get(ObjectKey(_HPA, service.name))
    theirs = children.get(ObjectKey(_SCALED_OBJECT, service.name))
    keda = choice(scaling, cluster).keda
    if keda is None:
        keda = theirs is not None and ours is None
    other, named = (ours, _HPA) if keda else (theirs, _SCALED_OBJECT)
    known = Standing(ours, theirs).concurrency(keda)
    return Scaler(
        keda=keda,
        concurrency=_stand_in(known, look) if scaling.latency is not None else None,
        waits=_stands(named, other) or ("" if keda else _stands(_HPA, observed.keda_autoscaler)),
    )


def obstacle(scaling: Scaling, cluster: Cluster) -> Problem | None:
    """Return why the autoscaler cannot read its metrics, as far as the cluster's server of them tells."""
    if scaling.max_replicas is None:
        return None
    return choice(scaling, cluster).problem


def choice(scaling: Scaling, cluster: Cluster) -> Choice:
    """Return who makes the autoscaler of a service that has one."""
    api, external = cluster.metrics_api, scaling.external()
    match scaling.backend:
        case "keda":
            return _keda(cluster, external)
        case "adapter" if external and api is not None and api.owner in {"keda", "other"}:
            return Choice(False, _conflict(api, "adapter", "Mooring's adapter"))
        case "prometheusAdapter" if external and api is not None and api.owner in {"keda", "mooring"}:
            return Choice(False, _conflict(api, "prometheusAdapter", "prometheus-adapter"))
        case "auto" if external and api is not None and api.owner == "keda":
            return _keda(cluster, external)
        case "auto" if external and api is not None and api.owner == "other":
            message = (
                f"{names.EXTERNAL_METRICS_API_SERVICE} belongs to {api.server}, which does not know our metrics: "
                "replicas stay as they are. If it is prometheus-adapter with the rules of docs/autoscaling.md, "
                "set spec.scaling.backend: prometheusAdapter; else scale by cpu, or let Mooring's adapter or KEDA have "
                "the APIService"
            )
            return Choice(None, Problem(_FIELD, message, "MetricsAPIConflict"))
        case "auto" if external and api is None:
            return Choice(None)
    return Choice(False, _reachable(api, cluster) if external and api is not None else None)


def _keda(cluster: Cluster, external: bool) -> Choice:
    """KEDA, as far as it is there. Without its kind our own autoscaler at least holds the bounds."""
    api = cluster.metrics_api
    if not cluster.keda:
        message = (
            "the cluster has no ScaledObject (keda.sh/v1alpha1): install KEDA, or choose another backend. Until then "
            "replicas are only kept within their bounds"
        )
        return Choice(False, Problem(_FIELD, message, "KedaMissing"))
    if not external:
        return Choice(True)
    if not cluster.prometheus_url:
        message = (
            "KEDA asks Prometheus itself, and nobody has told where it is: set prometheus.url in the chart's values"
        )
        return Choice(True, Problem(_FIELD, message, "PrometheusNotConfigured"))
    if api is not None and api.owner in {"mooring", "other"}:
        return Choice(True, _conflict(api, "keda", "KEDA"))
    if cluster.prometheus_token and cluster.keda_access is None:
        message = (
            "the operator shows Prometheus a token, and KEDA has none: put one into a ClusterTriggerAuthentication and "
            "name that in prometheus.keda.authentication.name of the chart's values. Replicas stay as they are"
        )
        return Choice(True, Problem(_FIELD, message, "KedaUnauthorized"))
    return Choice(True, None if api is None else _reachable(api, cluster))


def _conflict(api: MetricsApi, backend: str, wanted: str) -> Problem:
    message = (
        f'found "{backend}": {names.EXTERNAL_METRICS_API_SERVICE} belongs to {api.server}, and {wanted} cannot '
        "answer. A cluster has one server of external metrics: set backend: auto, or remove the other server. Replicas "
        "stay as they are"
    )
    return Problem(_FIELD, message, "MetricsAPIConflict")


def _reachable(api: MetricsApi, cluster: Cluster) -> Problem | None:
    if api.owner == "nobody" and not cluster.prometheus_url:
        # The chart leaves the adapter out then: it is not what is missing.
        message = (
            "nobody has told where Prometheus is: set prometheus.url in the chart's values to the one that scrapes the "
            "models; the adapter comes with it. Replicas stay as they are"
        )
        return Problem(_FIELD, message, "PrometheusNotConfigured")
    if api.owner == "nobody":
        message = (
            f"the cluster has no APIService {names.EXTERNAL_METRICS_API_SERVICE}, so nobody answers for external "
            "metrics: set adapter.enabled: true in the chart's values, or install KEDA. Replicas stay as they are"
        )
        return Problem(_FIELD, message, "MetricsAPIMissing")
    if api.trouble:
        message = (
            f"{names.EXTERNAL_METRICS_API_SERVICE} cannot be reached at {api.server}: {api.trouble}. Replicas stay as "
            "they are: look at the pods of that Service"
        )
        return Problem(_FIELD, message, "AdapterDown")
    return None


def concurrency_of(autoscaler: Manifest | None) -> float | None:
    """Return the concurrency that stands on an autoscaler; None where the rule holds the target there."""
    annotations = (autoscaler or {"metadata": {}})["metadata"].get("annotations") or {}
    try:
        written = float(annotations[names.ANNOTATION_CONCURRENCY])
    except (KeyError, ValueError):
        return None
    return written if 0.0 < written < math.inf else None


def _stand_in(known: float | None, look: Look | None) -> float | None:
    """Return the concurrency to go by in place of the rule.

    Sticky both ways: what nobody can see now, or what has been missing for a moment, changes nothing. Otherwise each
    outage and each rollout would make another metric of it, which the autoscaler would take for another load.
    """
    if look is None or look.findings is None:
        return known
    answer = look.answers.get(names.METRIC_DESIRED_REPLICAS)
    if answer is None or answer.reason != NO_CURVE:
        return None if answer is not None and answer.value is not None else known
    most = look.findings.batch_limit
    if known is not None or most is None or look.curveless < CURVELESS:
        return known
    return concurrency(round(most), max(1, round(look.findings.workers or 1)))


def _stands(kind: str, autoscaler: Manifest | None) -> str:
    """Return what has to go first. What KEDA made hangs on its ScaledObject, and goes a moment after it."""
    return "" if autoscaler is None else f"{kind} {autoscaler['metadata']['name']}"


Backend = Literal["adapter", "keda", "prometheusAdapter"]


def backend(scaling: Scaling, scaler: Scaler) -> Backend | None:
    """Return who serves the metrics, for the status; None where only the CPU counts."""
    if scaler.keda:
        return "keda"
    if not scaling.external():
        return None
    return "prometheusAdapter" if scaling.backend == "prometheusAdapter" else "adapter"
