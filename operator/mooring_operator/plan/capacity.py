"""Room for one more replica: what the scheduler would say to a pod of the service, as far as accelerators go."""

from ..api.accelerators import node_matches, tolerated_keys
from ..facts import Node, Service, Taint


def usable_nodes(service: Service, nodes: tuple[Node, ...]) -> tuple[Node, ...]:
    """Return the nodes that could ever run a replica: labels, taints and size fit; present use does not count."""
    accelerator = service.spec.accelerator
    if accelerator is None or accelerator.type is None:
        return ()
    return tuple(
        node
        for node in nodes
        if node.schedulable
        and node.allocatable.get(accelerator.type, 0) >= accelerator.count
        and node_matches(accelerator, node.labels)
        and all(node.labels.get(key) == value for key, value in (service.spec.pod.node_selector or {}).items())
        and all(_tolerates(service, taint) for taint in node.taints)
    )


def has_spare(service: Service, nodes: tuple[Node, ...]) -> bool:
    """Tell whether one more replica would find its accelerators free now."""
    accelerator = service.spec.accelerator
    if accelerator is None:
        return True
    if accelerator.type is None:
        # DRA devices are allocated by the scheduler alone: nothing we can list proves that one is free, and a surge
        # that finds none would wait for ever behind the pods that it is to replace.
        return False
    return any(node.free.get(accelerator.type, 0) >= accelerator.count for node in usable_nodes(service, nodes))


def _tolerates(service: Service, taint: Taint) -> bool:
    if taint.effect == "PreferNoSchedule":
        return True
    accelerator = service.spec.accelerator
    if accelerator is not None and taint.key in tolerated_keys(accelerator):
        return True
    return any(
        toleration.key in {None, taint.key}
        and toleration.effect in {None, taint.effect}
        and (toleration.operator == "Exists" or (toleration.value or "") == taint.value)
        for toleration in service.spec.pod.tolerations or ()
    )
