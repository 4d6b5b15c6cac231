"""How the volumes of a stateful service grow: first the claims that are there, then the template of those to come."""

from dataclasses import dataclass, field

from ..api import names
from ..api.quantities import quantity
from ..facts import Manifest, Members, ObjectKey, Observed, Service


@dataclass(frozen=True)
class Growth:
    """What to do about the size of volumes."""

    claims: dict[str, str] = field(default_factory=dict)
    """Claims to expand, and to what size."""
    recreate: bool = False
    """Make the StatefulSet anew, around its pods: a claim template cannot be changed."""
    template_size: str | None = None
    """Size to leave in the claim template meanwhile."""


def growth(service: Service, observed: Observed, *, steady: bool) -> Growth:
    """Return the growth of the volumes; `steady`: no rollout goes on, so that the marks of none can be lost.

    A volume is never made smaller: validation refuses that, and here a smaller size changes nothing.
    """
    if service.spec.state is None:
        return Growth()
    members, asked = observed.members or Members(), str(service.spec.state.volume.size)
    # A claim that is not bound cannot be expanded; it grows once it is.
    small = {
        claim["metadata"]["name"]: asked
        for claim in members.claims.values()
        if claim.get("status", {}).get("phase") == "Bound" and quantity(_requested(claim)) < quantity(asked)
    }
    found = observed.children.get(ObjectKey("StatefulSet", service.name))
    standing = None if found is None else _template_size(found)
    if standing is None or standing == asked:
        return Growth(small)
    # Only after the claims: where the class refuses to expand them, replicas to come are to be as those that are.
    if not small and steady and quantity(standing) < quantity(asked):
        return Growth(recreate=True)
    return Growth(small, template_size=standing)


def _requested(claim: Manifest) -> str:
    value: str = claim["spec"].get("resources", {}).get("requests", {}).get("storage", "0")
    return value


def _template_size(stateful_set: Manifest) -> str | None:
    for template in stateful_set["spec"].get("volumeClaimTemplates") or ():
        if template["metadata"]["name"] == names.CLAIM_SESSIONS:
            return _requested(template)
    return None
