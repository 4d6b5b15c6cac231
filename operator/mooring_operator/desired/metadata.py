"""What every child carries: name, labels, owner; and the selector that finds a service's pods."""

import hashlib
import json
from typing import Any

from ..api import names
from ..facts import Manifest, Service


def metadata(
    service: Service, name: str | None = None, annotations: dict[str, str] | None = None, component: str | None = None
) -> Manifest:
    """Return the metadata of a child; its name is the service's unless another is given."""
    made: Manifest = {
        "name": name or service.name,
        "namespace": service.namespace,
        "labels": labels(service, component or names.COMPONENT_SERVER),
        "ownerReferences": [service.owner_reference()],
    }
    if annotations:
        made["annotations"] = annotations
    return made


def scraped(its_metadata: Manifest) -> Manifest:
    """Return the metadata of the one Service by whose pods the replicas' metrics are found."""
    return {**its_metadata, "labels": {**its_metadata["labels"], names.LABEL_SCRAPED: "true"}}


def labels(service: Service, component: str) -> dict[str, str]:
    """Return our labels of a child or a pod."""
    return {
        names.LABEL_NAME: names.SINGULAR,
        names.LABEL_INSTANCE: service.name,
        names.LABEL_COMPONENT: component,
        names.LABEL_MANAGED_BY: names.MANAGED_BY,
        names.LABEL_SERVICE: service.name,
    }


def pod_selector(service: Service) -> dict[str, str]:
    """Return the labels that select the pods that serve, and never the pod of a check."""
    return {names.LABEL_SERVICE: service.name, names.LABEL_COMPONENT: names.COMPONENT_SERVER}


def digest(value: Any, length: int = 12) -> str:
    """Return the first hex digits of the SHA-256 of a JSON value; the order of keys does not count."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:length]
