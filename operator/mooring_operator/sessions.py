"""What is known of the sessions of a stateful service: pure, below the plan and the status, which both go by it.

Counts are those that replicas report in this round. A replica that is silent has sessions all the same: where nothing
tells how many, their number is None, never 0.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from .api import names
from .api.membership import Record, Report
from .api.quantities import seconds
from .facts import Manifest, Members, ObjectKey, Observed, Service


@dataclass(frozen=True)
class Leaving:
    """A replica that is no member, and from which not all is known to have moved."""

    ordinal: int
    sessions: int | None
    """How many are still there."""


@dataclass(frozen=True)
class AtRisk:
    """A replica whose pod is on a lost node. Its sessions answer again when the node is back, or when the pod starts
    elsewhere with its volume; Kubernetes lets it do that only once the old pod is surely gone.
    """

    ordinal: int
    pod: str
    node: str
    why: str
    """What is known of the node."""
    ending: bool
    """The pod is being deleted, and waits for the node's word."""
    sessions: int | None
    """How many it has; while it cannot be asked, what it had at some time before, by a factor of two at most."""


@dataclass(frozen=True)
class Replaced:
    """A replica with another store than the record names: it answers nothing until a person decides."""

    ordinal: int
    wanted: str
    found: str


@dataclass(frozen=True)
class VolumeLost:
    """A replica whose claim has no volume any more, or is being deleted with it."""

    ordinal: int
    claim: str
    deleted: bool
    """The claim is being deleted, and its volume lasts as long as the pod."""


@dataclass(frozen=True)
class RolledBack:
    """A replica whose store was opened more often than it says: an older copy of its volume was put in place."""

    ordinal: int
    store: str
    boot: int
    known: int


@dataclass(frozen=True)
class Sessions:
    """The sessions of one service, and what threatens them."""

    active: int = 0
    """Live ones, at all replicas that answer."""
    ended: int = 0
    draining: int = 0
    """Those that belong elsewhere than they are, or are on their way; `active` counts them, too."""
    bytes: int = 0
    unreadable: Mapping[int, int] = field(default_factory=dict)
    """By ordinal, where there are any: live sessions whose state the model that is loaded there cannot go on from."""
    quarantined: Mapping[int, int] = field(default_factory=dict)
    """By ordinal, where there are any: sessions that are damaged on disk, and wait there for a person."""
    leaving: tuple[Leaving, ...] = ()
    """Replicas that are handing over."""
    stranded: tuple[Leaving, ...] = ()
    """Replicas that were taken away after the drain's time; their volumes are kept."""
    at_risk: tuple[AtRisk, ...] = ()
    replaced: tuple[Replaced, ...] = ()
    rolled_back: tuple[RolledBack, ...] = ()
    volumes_lost: tuple[VolumeLost, ...] = ()
    durable: bool = True
    """A step that was answered is on disk; else it is there after `spec.state.durability.interval` at the latest."""


def look(service: Service, observed: Observed) -> Sessions:
    """Return what is known of the sessions of a stateful service."""
    members = observed.members or Members()
    reports = heard(members)
    return Sessions(
        active=sum(report.held for report in reports.values()),
        ended=sum(report.ended for report in reports.values()),
        draining=sum(report.foreign for report in reports.values()),
        bytes=sum(report.bytes for report in reports.values()),
        unreadable={ordinal: report.unreadable for ordinal, report in reports.items() if report.unreadable},
        quarantined={ordinal: report.quarantined for ordinal, report in reports.items() if report.quarantined},
        leaving=_leaving(service, observed, members),
        stranded=_stranded(service, observed, members),
        at_risk=_at_risk(observed, members, reports),
        replaced=replaced(members),
        rolled_back=rolled_back(members),
        volumes_lost=_volumes_lost(service, members),
        durable=service.spec.state is None or service.spec.state.durability.mode == "step",
    )


def heard(members: Members) -> dict[int, Report]:
    """Return the reports by ordinal, in order, without those that speak of another ordinal than was asked."""
    return {ordinal: report for ordinal, report in sorted(members.reports.items()) if report.ordinal == ordinal}


def word_of(members: Members, ordinal: int) -> Report | None:
    """Return the report of one ordinal."""
    report = members.reports.get(ordinal)
    return report if report is not None and report.ordinal == ordinal else None


def given_up(record: Record, ordinal: int) -> bool:
    """Tell whether the store that an ordinal had was given up, and no other one has been named for it."""
    return record.stores.get(ordinal) in record.lost


def clean(members: Members, ordinal: int) -> bool:
    """Tell whether nothing is at an ordinal that belongs elsewhere under the record that is kept."""
    record, report = members.record, word_of(members, ordinal)
    if record is None:
        return False
    if given_up(record, ordinal):
        return True  # What was there counts as gone; a store in its place has taken nothing yet.
    # The whole record: one with the same epoch and another content was made by nobody who keeps the rules.
    return report is not None and report.clean and report.record == record


def drained(service: Service, observed: Observed, part: float = 1.0) -> bool:
    """Tell whether replicas that leave have had their time, or a part of it, to hand over what they have."""
    members, state = observed.members, service.spec.state
    made = _made(observed.children.get(ObjectKey("StatefulSet", service.name)))
    if members is None or state is None or members.resized is None or made is None:
        return False
    # A service that is deleted amid a resize and applied again goes on with it: while it was gone nothing could move.
    return observed.now - max(members.resized, made) >= part * timedelta(seconds=seconds(state.drain_timeout))


def timed_out(service: Service, observed: Observed) -> bool:
    """Tell whether replicas that leave may go with what they have: they have had their time, and volumes are kept.

    A claim that somebody has deleted is not kept: it lives as long as the pod that uses it.
    """
    members, state = observed.members, service.spec.state
    if members is None or state is None or members.record is None or members.record.settled:
        return False
    if members.going.intersection(_unclean_past(members)):
        return False
    return state.retention.when_scaled == "Retain" and drained(service, observed)


def replaced(members: Members) -> tuple[Replaced, ...]:
    """Return the replicas that have another store than the record names."""
    record = members.record
    if record is None:
        return ()
    return tuple(
        Replaced(ordinal, record.stores[ordinal], report.store)
        for ordinal, report in heard(members).items()
        if record.stores.get(ordinal, report.store) != report.store and not given_up(record, ordinal)
    )


def rolled_back(members: Members) -> tuple[RolledBack, ...]:
    """Return the replicas whose store has been opened more often than they say."""
    known = counts(members, names.ANNOTATION_BOOTS)
    return tuple(
        RolledBack(ordinal, report.store, report.boot, known[report.store])
        for ordinal, report in heard(members).items()
        if report.boot < known.get(report.store, 0)
    )


def counts(members: Members, note: str) -> dict[str, int]:
    """Return what a note of the plan says; empty when there is none, or somebody has written something else there."""
    try:
        found = json.loads(members.notes.get(note, "{}"))
    except ValueError:
        return {}
    if not isinstance(found, dict):
        return {}
    return {str(key): count for key, count in found.items() if type(count) is int}


def _volumes_lost(service: Service, members: Members) -> tuple[VolumeLost, ...]:
    """Return the replicas whose sessions are lost with their volume, or will be; one that has none is none of them."""
    record = members.record
    lost = {o for o, claim in members.claims.items() if claim.get("status", {}).get("phase") == "Lost"}
    return tuple(
        VolumeLost(ordinal, f"{names.CLAIM_SESSIONS}-{service.name}-{ordinal}", ordinal in members.going)
        for ordinal in sorted(lost | members.going)
        if record is not None and ordinal in record.stores and not given_up(record, ordinal)
    )


def _made(stateful_set: Manifest | None) -> datetime | None:
    """Return since when there is a StatefulSet; None while there is none."""
    if stateful_set is None:
        return None
    return datetime.fromisoformat(stateful_set["metadata"]["creationTimestamp"])


def _leaving(service: Service, observed: Observed, members: Members) -> tuple[Leaving, ...]:
    away = {each.ordinal for each in _stranded(service, observed, members)}
    reports = heard(members)
    return tuple(
        Leaving(ordinal, reports[ordinal].foreign if ordinal in reports else None)
        for ordinal in _unclean_past(members)
        if ordinal not in away
    )


def _stranded(service: Service, observed: Observed, members: Members) -> tuple[Leaving, ...]:
    if not timed_out(service, observed):
        return ()
    there = {pod.ordinal for pod in (*observed.pods, *members.ending)} | set(members.reports)
    noted = counts(members, names.ANNOTATION_STRANDED)
    return tuple(
        Leaving(ordinal, noted.get(str(ordinal))) for ordinal in _unclean_past(members) if ordinal not in there
    )


def _unclean_past(members: Members) -> list[int]:
    record = members.record
    if record is None or record.settled:
        return []
    return [ordinal for ordinal in range(record.size, record.reach) if not clean(members, ordinal)]


def _at_risk(observed: Observed, members: Members, reports: Mapping[int, Report]) -> tuple[AtRisk, ...]:
    ending = {pod.name for pod in members.ending}
    noted = counts(members, names.ANNOTATION_HELD)
    return tuple(
        AtRisk(
            ordinal=pod.ordinal,
            pod=pod.name,
            node=pod.node,
            why=members.lost_nodes[pod.node],
            ending=pod.name in ending,
            sessions=reports[pod.ordinal].held if pod.ordinal in reports else noted.get(str(pod.ordinal)),
        )
        for pod in sorted((*observed.pods, *members.ending), key=lambda pod: pod.name)
        if pod.ordinal is not None and pod.node in members.lost_nodes
    )
