"""What a round does for a stateful service: membership, volumes and rollout, put together.

They hold each other up where one could take from the other: a replica is taken away only when the record is settled (or
its time is over, and its volume kept), a rollout waits for a resize, the StatefulSet is made anew only between
rollouts. Everything else goes on side by side.
"""

import json
from collections.abc import Iterator

from ..api import names
from ..api.membership import Record
from ..facts import Members, Moves, Observed, Service, Step
from ..sessions import clean, counts, heard, replaced, rolled_back, timed_out
from .growth import growth
from .membership import (
    abandonable,
    goes_with_replicas,
    live_replicas,
    next_record,
    taken_over,
    unheard_claims,
    volumes,
    wanted_size,
)
from .stateful_rollout import Rollout, rollout


def plan(service: Service, observed: Observed, wanted: str) -> Step:
    """Return what to do, where `wanted` is the hash of the pod template that the spec asks for."""
    members = observed.members or Members()
    if service.spec.suspend:
        return Step(hold=True, moves=Moves(notes=members.notes))
    size = wanted_size(service, members)
    # Under a volume that was put back nothing is decided: what its replica reports may be long over.
    old = bool(rolled_back(members))
    record = None if old else next_record(service, observed, size)
    turn = rollout(service, observed, wanted)
    grown = growth(service, observed, steady=turn.steady and not old)
    count = replicas(service, observed, size, record)
    kept = record or members.record
    moves = Moves(
        record=record,
        notes=_notes(service, observed, count),
        tell=() if kept is None else tuple(_behind(members, kept)),
        evict=None if old or grown.recreate else turn.evict,
        grow=grown.claims,
        recreate=grown.recreate,
    )
    stalled, reason, message = _said(service, observed, turn, size)
    return Step(
        replicas=count,
        template=turn.template,
        marks=turn.marks.written() | ({names.ANNOTATION_ROOM: str(size)} if goes_with_replicas(service) else {}),
        stalled=stalled,
        reason=reason,
        message=message,
        volume_size=grown.template_size,
        moves=moves,
    )


def hold(service: Service, observed: Observed) -> Step:
    """Return what goes on while the spec cannot be acted upon: what has begun for the sessions, and nothing new.

    A resize ends: those that are to hear of the record hear of it, and it is settled. No pod is touched, and no other
    size begins.
    """
    members = observed.members or Members()
    kept = members.record
    record = None
    if not rolled_back(members):
        record = taken_over(members) if kept is None else next_record(service, observed, kept.size)
    present = record or kept
    notes = members.notes if kept is None else _notes(service, observed, live_replicas(service, observed))
    tell = () if present is None else tuple(_behind(members, present))
    return Step(hold=True, moves=Moves(record=record, notes=notes, tell=tell))


def replicas(service: Service, observed: Observed, wanted: int, record: Record | None) -> int:
    """Return how many pods the StatefulSet shall have, where `record` is what this round keeps in place of the present.

    A pod is taken away only when the record that is kept says that nothing can be on it, or when those that leave have
    had their time and their volumes are kept. They come back for another such time when the size changes again.
    """
    members, live = observed.members or Members(), live_replicas(service, observed)
    kept = members.record
    if kept is None or rolled_back(members):
        reach = max((each.reach for each in (kept, record) if each is not None), default=0)
        # Also those that have reported: their pods may be ending, of a service that was deleted and applied again.
        return max(wanted, live, reach, 1 + max(volumes(members), default=-1))
    # Settled, and a member knows it: were the ConfigMap lost now, the replicas would bring the record before it back,
    # which names stores on claims that go with their pods.
    known = any(report.record == kept for ordinal, report in heard(members).items() if ordinal < kept.size)
    if record is None and (timed_out(service, observed) or (kept.settled and known)):
        return max(wanted, kept.size)
    return max(wanted, live, kept.reach, record.reach if record is not None else 0)


def _behind(members: Members, kept: Record) -> Iterator[int]:
    """Replicas, members or not, that go by an older record than the one that is kept."""
    for ordinal, report in heard(members).items():
        if report.record is None or report.record.epoch < kept.epoch:
            yield ordinal


def _notes(service: Service, observed: Observed, count: int) -> dict[str, str]:
    """What to remember: how often stores were opened, and what is on the volumes of replicas that cannot be asked."""
    members = observed.members or Members()
    known, reports = counts(members, names.ANNOTATION_BOOTS), heard(members)
    named = set() if members.record is None else set(members.record.stores.values())
    boots = {store: boot for store, boot in known.items() if store in named}
    for report in reports.values():
        boots[report.store] = max(report.boot, known.get(report.store, 0))
    stranded: dict[str, int] = {}
    if timed_out(service, observed) and members.record is not None:
        noted = counts(members, names.ANNOTATION_STRANDED)
        for ordinal in range(count, members.record.reach):
            left = reports[ordinal].foreign if ordinal in reports else noted.get(str(ordinal), 0)
            if left and not clean(members, ordinal):
                stranded[str(ordinal)] = left
    found = {
        names.ANNOTATION_BOOTS: boots,
        names.ANNOTATION_STRANDED: stranded,
        names.ANNOTATION_HELD: _held(members),
    }
    return {name: json.dumps(note, sort_keys=True) for name, note in found.items() if note}


def _held(members: Members) -> dict[str, int]:
    """How many sessions each replica has, about: each session that comes or goes would else be a write."""
    reports, found = heard(members), counts(members, names.ANNOTATION_HELD)
    reach = 0 if members.record is None else members.record.reach
    held = {}
    for ordinal in range(reach):
        noted = found.get(str(ordinal), 0)
        now = reports[ordinal].held if ordinal in reports else noted
        held[ordinal] = noted if noted <= 2 * now <= 4 * noted else now
    return {str(ordinal): count for ordinal, count in held.items() if count}


def _said(service: Service, observed: Observed, turn: Rollout, wanted: int) -> tuple[bool, str, str]:
    """Return whether the service is stalled, the reason and the message: what a person must decide goes first."""
    troubles = [*_troubles(service, observed)]
    if turn.stalled:
        troubles.append((turn.reason, turn.message))
    elif stuck := _unreadable(observed):
        troubles.append(("StateUnreadable", stuck))
    if troubles:
        return True, troubles[0][0], ". ".join(message.rstrip(".") for _, message in troubles)
    waits = _waits(observed, wanted)
    return False, *(waits or (turn.reason, turn.message))


def _troubles(service: Service, observed: Observed) -> Iterator[tuple[str, str]]:
    """What does not mend by itself."""
    members = observed.members or Members()
    config_map = f"{service.name}{names.SUFFIX_MEMBERSHIP}"
    for older in rolled_back(members):
        yield (
            "VolumeRolledBack",
            f"replica {older.ordinal} has an older copy of its volume: store {older.store} was opened {older.known} "
            f"times, and this copy {older.boot}. Its sessions may be at two places now, so nothing is moved. Put the "
            f"newer volume back; or delete the claim and the pod, and give the store up by the annotation "
            f"{names.ANNOTATION_ABANDON_STORE}: {older.store}; or, to go on with the older copy all the same, remove "
            f"the annotation {names.ANNOTATION_BOOTS} from ConfigMap {config_map}",
        )
    for other in replaced(members):
        yield (
            "VolumeReplaced",
            f"replica {other.ordinal} has another volume, with store {other.found}, than the one with its sessions, "
            f"store {other.wanted}, and answers nothing. Bring that volume back; or, when it is lost for good and no "
            f"pod still runs with it, give its sessions up: annotate the service with "
            f"{names.ANNOTATION_ABANDON_STORE}: {other.wanted}",
        )
    record = members.record
    lost = [] if record is None else [o for o, report in heard(members).items() if report.store in record.lost]
    for ordinal in lost:
        yield (
            "VolumeGivenUp",
            f"replica {ordinal} has the volume of store {members.reports[ordinal].store}, which was given up: its "
            "sessions can be exported, and it answers nothing. Delete its claim and its pod, so that it gets a new one",
        )
    asked = record is not None and members.abandon not in {"", *record.lost}
    if record is not None and asked and abandonable(service, observed, members) is None:
        yield "CannotAbandon", _not_abandoned(members, record)


def _unreadable(observed: Observed) -> str:
    """What is on volumes that the version which is loaded cannot go on from, though it is not being rolled out.

    So it is where an older version was put back, or where volumes of an earlier service were found.
    """
    reports = heard(observed.members or Members())
    ready = [pod.ordinal for pod in observed.pods if pod.ready and pod.ordinal is not None]
    stuck = [ordinal for ordinal in sorted(ready) if ordinal in reports and reports[ordinal].unreadable]
    if not stuck:
        return ""
    count = sum(reports[ordinal].unreadable for ordinal in stuck)
    return (
        f"{count} sessions on {_replicas(stuck)} were written by another version of the model, and the one that is "
        "loaded cannot go on from their state: they answer again with a version that can, or with spec.state.converter"
    )


def _not_abandoned(members: Members, record: Record) -> str:
    asked = f"{names.ANNOTATION_ABANDON_STORE}: {members.abandon}"
    ordinal = next((o for o, store in record.stores.items() if store == members.abandon), None)
    if ordinal is None:
        known = ", ".join(f"{store} (replica {o})" for o, store in sorted(record.stores.items()))
        return f"{asked} names no store of this service, which are {known}: correct or remove the annotation"
    report = heard(members).get(ordinal)
    if report is not None and report.store == members.abandon:
        return f"{asked}: replica {ordinal} runs with that very store, so it is not lost: remove the annotation"
    return (
        f"{asked} waits until replica {ordinal} answers with another volume: make sure that no pod runs with the old "
        f"one, then delete its claim and its pod"
    )


def _waits(observed: Observed, wanted: int) -> tuple[str, str] | None:
    """What goes on by itself."""
    members = observed.members or Members()
    record = members.record
    if record is None:
        silent = unheard_claims(members) or [o for o in range(wanted) if o not in heard(members)]
        return "FirstReplicas", f"waiting for the first report of {_replicas(silent)}" if silent else "making a record"
    if not record.settled:
        away = [ordinal for ordinal in range(record.reach) if not clean(members, ordinal)]
        sizes = ", ".join(map(str, record.past))
        return (
            "Resizing",
            f"from {sizes} to {record.size} replicas: sessions are still to move, as {_replicas(away)} say",
        )
    if wanted > record.size:
        coming = [ordinal for ordinal in range(record.size, wanted) if ordinal not in heard(members)]
        return (
            "Resizing",
            f"from {record.size} to {wanted} replicas: waiting for the first report of {_replicas(coming)}",
        )
    return None


def _replicas(ordinals: list[int]) -> str:
    shown = ", ".join(map(str, ordinals[:8])) + (f" and {len(ordinals) - 8} more" if len(ordinals) > 8 else "")
    return f"replica{'s' if len(ordinals) != 1 else ''} {shown}"
