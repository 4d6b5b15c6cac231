"""How many replicas the operator writes, and when it keeps its hands off."""

from ..facts import Service


def replicas(service: Service) -> int | None:
    """Return the replicas to write, or None where an autoscaler owns the number.

    It owns it also while it cannot read its metrics: it then keeps what stands, and still holds the bounds.
    """
    scaling = service.spec.scaling
    return service.spec.replicas if scaling is None or scaling.max_replicas is None else None
