"""How many replicas the operator writes, and when it keeps its hands off."""

from ..facts import Service


def replicas(service: Service) -> int | None:
    """Return the replicas to write, or None where an autoscaler owns the number.

    Without a rule that is built, `minReplicas` and `maxReplicas` still bound what the user asks for: a service whose
    autoscaler cannot run yet must not come up below its minimum.
    """
    scaling = service.spec.scaling
    if scaling is None or scaling.max_replicas is None:
        return service.spec.replicas
    if scaling.cpu is not None:
        return None
    return min(max(service.spec.replicas, scaling.min_replicas), scaling.max_replicas)
