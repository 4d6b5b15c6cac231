"""What the status says of a stateful service besides: its router, and what threatens its sessions."""

from collections.abc import Iterable, Mapping
from typing import Any

from .. import sessions
from ..api import names
from ..facts import TOKEN_REFUSED, Members, Moves, ObjectKey
from ..sessions import AtRisk, Leaving, Replaced, RolledBack, Sessions, VolumeLost
from .view import Verdict, View


def router_ready(view: View) -> Verdict:
    """At least one pod of the router answers."""
    name = f"{view.service.name}{names.SUFFIX_ROUTER}"
    router = view.observed.children.get(ObjectKey("Deployment", name))
    if router is None:
        return Verdict("False", "NoRouter", f"Deployment {name!r} does not exist yet")
    ready, wanted = router.get("status", {}).get("readyReplicas", 0), router["spec"].get("replicas", 1)
    message = f"{ready} of {wanted} pods of the router answer"
    if ready:
        return Verdict("True", "Routing", message)
    for pod in (view.observed.members or Members()).router:
        if pod.failure is not None:
            failure = pod.failure
            return Verdict("False", failure.reason, f"pod {pod.name}, container {failure.container}: {failure.message}")
        if pod.unschedulable:
            found = pod.unschedulable.rstrip(". ")
            return Verdict("False", "Unschedulable", f"no node takes pod {pod.name}: {found}. Add a node or free one")
    return Verdict("False", "NoRouterAnswers", message)


def at_risk(view: View, found: Sessions) -> Verdict:
    """Whether sessions wait for a person: on a node that is lost, because their volume is not what it was, or because
    the operator can do nothing for them.
    """
    members = view.observed.members or Members()
    # The address of a pod that ends, or whose node is lost, may be another pod's by now, which rightly refuses.
    gone = {pod.ordinal for pod in members.ending} | {each.ordinal for each in found.at_risk}
    refused = [
        f"replica {ordinal}: {why}"
        for ordinal, why in members.silent.items()
        if why.startswith(TOKEN_REFUSED) and ordinal not in gone
    ]
    told = [
        ("NodeLost", [_node_lost(each) for each in found.at_risk]),
        ("VolumeReplaced", [_volume_replaced(each) for each in found.replaced]),
        ("VolumeLost", [_volume_lost(each) for each in found.volumes_lost]),
        ("VolumeRolledBack", [_volume_rolled_back(each) for each in found.rolled_back]),
        ("TokenRefused", refused),
        ("SessionsQuarantined", [_quarantined(*each) for each in found.quarantined.items()]),
    ]
    reasons = [reason for reason, words in told if words]
    if not reasons:
        return Verdict("False", "NotAtRisk", "every replica that is known has its node and its volume")
    return Verdict("True", reasons[0], ". ".join(word for _, words in told for word in words))


def stranded(view: View, found: Sessions) -> Verdict:
    """Whether replicas were removed before they had handed over all of their sessions."""
    if not found.stranded:
        return Verdict("False", "NoneStranded", "no replica was removed with sessions")
    ordinals = [each.ordinal for each in found.stranded]
    record = (view.observed.members or Members()).record
    stores = [record.stores[ordinal] for ordinal in ordinals if record is not None and ordinal in record.stores]
    replicas, given_up = max(ordinals) + 1, " or ".join(stores) or "the id of the store"
    message = (
        f"{_replicas(found.stranded)} removed after spec.state.drainTimeout; their volumes are kept, and these "
        f"sessions get 503 until they are back. Scale to {replicas} replicas and down again, or, to give the sessions "
        f"up, annotate the service with {names.ANNOTATION_ABANDON_STORE}: {given_up}"
    )
    return Verdict("True", "DrainTimedOut", message)


def counts(found: Sessions) -> dict[str, int]:
    """Return the numbers of sessions for the status; one that nobody can know is left out."""
    numbers = {"active": found.active, "draining": found.draining}
    threatened = [each.sessions for each in found.at_risk] + [each.sessions for each in found.stranded]
    known = [number for number in threatened if number is not None]
    return {**numbers, "atRisk": sum(known)} if len(known) == len(threatened) else numbers


def given_up(members: Members, moves: Moves) -> str:
    """Return what is lost with the record that this round keeps, in words; empty when nothing is."""
    before, after = members.record, moves.record
    if before is None or after is None:
        return ""
    gone = [store for store in after.lost if store not in before.lost]
    owners = {store: ordinal for ordinal, store in before.stores.items()}
    return "; ".join(
        f"store {store} of replica {owners.get(store, 'unknown')} was given up: its sessions are lost, and their "
        "clients are told so"
        for store in gone
    )


def look(view: View) -> Sessions:
    """Return what is known of the sessions."""
    return sessions.look(view.service, view.observed)


def conditions(view: View, found: Sessions) -> Mapping[str, Verdict]:
    """Return the conditions that only a stateful service has."""
    return {
        "RouterReady": router_ready(view),
        "AtRisk": at_risk(view, found),
        "SessionsStranded": stranded(view, found),
    }


def fields(found: Sessions) -> dict[str, Any]:
    """Return the fields that only its status has."""
    return {"sessions": counts(found), "durable": found.durable}


def _node_lost(found: AtRisk) -> str:
    many = "" if found.sessions is None else f" and its {found.sessions} sessions"
    return (
        f"replica {found.ordinal}{many} cannot be reached: node {found.node!r} of pod {found.pod} is lost "
        f"({found.why.rstrip('. ')}). Bring the node back. Only when it is surely off: taint it with "
        "node.kubernetes.io/out-of-service=nodeshutdown:NoExecute, or delete the pod with --force --grace-period=0"
    )


def _volume_replaced(found: Replaced) -> str:
    return (
        f"replica {found.ordinal} has a new volume (store {found.found}) in place of that with its sessions (store "
        f"{found.wanted}), and answers nothing. Bring that volume back; or, if it is lost for good and no pod has it "
        f"any more, annotate the service with {names.ANNOTATION_ABANDON_STORE}: {found.wanted}"
    )


def _volume_lost(found: VolumeLost) -> str:
    if found.deleted:
        return (
            f"claim {found.claim!r} is being deleted, and goes with all sessions of replica {found.ordinal} as soon as "
            "its pod ends: the operator leaves the pod alone. Lower spec.replicas so far that this replica hands its "
            "sessions over, or export them and delete the pod"
        )
    return (
        f"claim {found.claim!r} of replica {found.ordinal} has lost its volume. Bring the PersistentVolume back; or, "
        "if it is lost for good, delete the claim and the pod: the status then says how to go on without its sessions"
    )


def _volume_rolled_back(found: RolledBack) -> str:
    return (
        f"the volume of replica {found.ordinal} was put back to an older copy: store {found.store} was opened "
        f"{found.boot} times, and {found.known} times before. Steps that clients were told of may be missing"
    )


def _quarantined(ordinal: int, count: int) -> str:
    return (
        f"{count} session{'s' if count > 1 else ''} on replica {ordinal} cannot be read from its volume: set aside, "
        "never served, and never moved, so that a smaller size waits for them. List them by GET "
        "/v2/sessions?state=quarantined, and give each one up by DELETE /v2/sessions/ID"
    )


def _replicas(leaving: Iterable[Leaving]) -> str:
    told = [
        f"{each.ordinal} ({'an unknown number of' if each.sessions is None else each.sessions} sessions)"
        for each in leaving
    ]
    return f"replica{'s' if len(told) > 1 else ''} {', '.join(told)} {'were' if len(told) > 1 else 'was'}"
