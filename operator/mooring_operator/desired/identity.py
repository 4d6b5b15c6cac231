"""The ServiceAccount of the pods."""

from ..facts import Manifest, Service, Step
from .metadata import metadata


def service_account(service: Service, step: Step) -> Manifest | None:
    """Return the service's own account; None where the spec names another and no pod of ours needs it."""
    if service.spec.pod.service_account_name and not step.hold and not _in_use(service, step):
        return None
    return {
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": metadata(service),
        # No pod of ours talks to the API server.
        "automountServiceAccountToken": False,
    }


def _in_use(service: Service, step: Step) -> bool:
    """Tell whether the template that is put back still runs under the service's own account."""
    account = (step.template or {}).get("spec", {}).get("serviceAccountName")
    return bool(account == service.name)
