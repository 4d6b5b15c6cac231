"""Who is a member: the next membership record, by what the replicas of a stateful service report.

Each round takes the first of the rules that has something to write. Nothing is remembered but the record that is kept,
so a round that is cut off anywhere, or two operators at once, of which compare-and-swap lets one write, end right.
"""

from dataclasses import replace

from ..api import names
from ..api.membership import Record
from ..facts import Members, ObjectKey, Observed, Service
from ..sessions import clean, given_up, heard, word_of


def wanted_size(service: Service, members: Members) -> int:
    """Return how many members the service shall have.

    With an autoscaler the count of the spec also changes when somebody applies, replaces or drops `replicas`, who means
    no resize: a shrink, which moves sessions, is believed only to the autoscaler itself. Not so a lower maximum:
    whoever writes that means it, and the autoscaler, whose load does not fit on so few, could not be believed.
    """
    scaling, asked = service.spec.scaling, service.spec.replicas
    if scaling is None or scaling.max_replicas is None:
        return asked
    bounded = min(max(asked, scaling.min_replicas), scaling.max_replicas)
    if members.record is None or members.scaled_by == names.AUTOSCALER_FIELD_MANAGER:
        return bounded
    return max(bounded, min(members.record.size, scaling.max_replicas))


def next_record(service: Service, observed: Observed, wanted: int) -> Record | None:
    """Return the record to keep in place of the present one; None: that stays."""
    members = observed.members or Members()
    return (
        taken_over(members)
        or _first(members, _arrived(service, observed, wanted))
        or _abandoned(service, observed, members)
        or _resized(members, wanted, _arrived(service, observed, wanted))
        or _settled(members)
        or _named(members)
        or _reached(members)
    )


def volumes(members: Members) -> list[int]:
    """Return the ordinals that have a volume. A claim that was never bound has none, so nothing is on it."""
    return [o for o, claim in sorted(members.claims.items()) if claim.get("status", {}).get("phase") == "Bound"]


def unheard_claims(members: Members) -> list[int]:
    """Return the ordinals that have a volume and have not reported: without a record any may have the latest one."""
    return [ordinal for ordinal in volumes(members) if word_of(members, ordinal) is None]


def taken_over(members: Members) -> Record | None:
    """Return the latest record that any replica goes by, where it is not the one that is kept.

    The ConfigMap may have been lost, or put back from a backup; what replicas have adopted never goes back.
    """
    kept = members.record
    if kept is None and unheard_claims(members):
        return None
    known = [report.record for report in heard(members).values() if report.record is not None]
    if kept is not None:
        known.append(kept)
    latest = max((record.epoch for record in known), default=0)
    found: list[Record] = []
    for record in known:
        if record.epoch == latest and record not in found:
            found.append(record)
    if not found or found == [kept]:
        return None
    return found[0] if len(found) == 1 else _merged(members, found)


def abandonable(service: Service, observed: Observed, members: Members) -> int | None:
    """Return the ordinal of the store that a person has given up, once it may be acted upon; else None.

    A member needs another store first, or nobody could say which one it must have. A replica that was taken away needs
    none; but while its pod is there, in whatever state, or is still to come back with a service that was deleted and
    applied again, it may be alive with that very store.
    """
    record, live = members.record, live_replicas(service, observed)
    if record is None or not members.abandon or members.abandon in record.lost or not live:
        return None
    for ordinal, store in sorted(record.stores.items()):
        if store != members.abandon:
            continue
        report = word_of(members, ordinal)
        if report is not None:
            return ordinal if report.store != store and report.store not in record.lost else None
        there = any(pod.ordinal == ordinal for pod in (*observed.pods, *members.ending))
        return None if ordinal < record.size or there or ordinal < live else ordinal
    return None


def live_replicas(service: Service, observed: Observed) -> int:
    """Return how many pods the StatefulSet is told to have; 0 where there is none."""
    found = observed.children.get(ObjectKey("StatefulSet", service.name))
    return 0 if found is None else int(found["spec"].get("replicas", 1))


def room(service: Service, observed: Observed, wanted: int) -> int:
    """Return how many replicas the StatefulSet has been written for.

    Where volumes go with their replicas an operator that was held up, and goes on with an old plan to take replicas
    away, would take the volumes of those that have become members meanwhile. It writes with the version of the
    StatefulSet that it has seen; so the wish for more is written there before anyone becomes a member by it.
    """
    found = observed.children.get(ObjectKey("StatefulSet", service.name))
    if found is None or not goes_with_replicas(service):
        return wanted
    mark = (found["metadata"].get("annotations") or {}).get(names.ANNOTATION_ROOM, "")
    return int(mark) if mark.isdecimal() else 0


def goes_with_replicas(service: Service) -> bool:
    """Tell whether the volume of a replica that is taken away is deleted."""
    return service.spec.state is not None and service.spec.state.retention.when_scaled == "Delete"


def _merged(members: Members, found: list[Record]) -> Record:
    """Return a record over several of one epoch, which only somebody else can have made: all that any of them says."""
    here = {ordinal: report.store for ordinal, report in heard(members).items()}
    stores: dict[int, str] = {}
    for record in found:
        for ordinal, store in record.stores.items():
            if ordinal not in stores or store == here.get(ordinal):
                stores[ordinal] = store
    lost = tuple(dict.fromkeys(store for record in found for store in record.lost))
    past = {size for record in found for size in (*record.past, record.size)}
    kept = members.record
    size = kept.size if kept is not None and kept in found else max(record.size for record in found)
    return Record(found[0].epoch + 1, size, tuple(sorted(past)), stores, lost)


def _first(members: Members, size: int) -> Record | None:
    """The first record of all: nobody has one, and no volume is left that might."""
    if members.record is not None or unheard_claims(members) or not size:
        return None
    return Record(1, size, (), {ordinal: members.reports[ordinal].store for ordinal in range(size)})


def _abandoned(service: Service, observed: Observed, members: Members) -> Record | None:
    """A person has given a store up: its sessions count as gone, and the replica goes on with the store it has now."""
    record, ordinal = members.record, abandonable(service, observed, members)
    if record is None or ordinal is None:
        return None
    stores = dict(record.stores)
    report = word_of(members, ordinal)
    if report is not None:
        stores[ordinal] = report.store
    return replace(record, epoch=record.epoch + 1, stores=stores, lost=(*record.lost, members.abandon))


def _resized(members: Members, wanted: int, arrived: int) -> Record | None:
    """Another count is wanted. Down at once; up only as far as replicas are there, since new sessions go to them."""
    record = members.record
    size = min(wanted, arrived)
    if record is None or size == record.size:
        return None
    past = tuple(sorted({*record.past, record.size}))
    return Record(record.epoch + 1, size, past, _stores(members, max(size, *past)), record.lost)


def _arrived(service: Service, observed: Observed, wanted: int) -> int:
    """Return k where each of the ordinals 0 to k-1 is a member, or has reported a store that it may have, and stays.

    One whose pod is being deleted, since fewer were wanted a moment ago, may report still; its volume may go with it.
    A store is reported before the model is loaded, which may take minutes: sessions that are begun meanwhile would have
    to wait for it at a new member, so one that is to join others must be ready.
    """
    members = observed.members or Members()
    record, reports = members.record, heard(members)
    live = min(live_replicas(service, observed), room(service, observed, wanted))
    staying = {pod.ordinal for pod in observed.pods if pod.ready or record is None}
    for ordinal in range(wanted):
        if record is not None and ordinal < record.size:
            continue
        report = reports.get(ordinal)
        if report is None or ordinal not in staying or ordinal >= live:
            return ordinal
        if record is None:
            continue
        named = report.store if given_up(record, ordinal) else record.stores.get(ordinal, report.store)
        if report.store != named or report.store in record.lost:
            return ordinal
    return wanted


def _settled(members: Members) -> Record | None:
    """Nothing is left under an earlier size, also not at the replicas that leave: from now on nobody is asked."""
    record = members.record
    if record is None or record.settled or not all(clean(members, ordinal) for ordinal in range(record.reach)):
        return None
    return Record(record.epoch + 1, record.size, (), _stores(members, record.size), record.lost)


def _named(members: Members) -> Record | None:
    """A replica has a store that the record does not name yet: unnamed, it could be replaced without a word."""
    record = members.record
    if record is None or _stores(members, record.reach) == record.stores:
        return None
    return replace(record, epoch=record.epoch + 1, stores=_stores(members, record.reach))


def _reached(members: Members) -> Record | None:
    """A replica beyond all that the record knows has sessions (a volume from elsewhere, a record that was put back).

    Taken away as it is, it would take them along; known as an earlier member, it hands them over.
    """
    record = members.record
    if record is None:
        return None
    beyond = [
        ordinal
        for ordinal, report in heard(members).items()
        if ordinal >= record.reach and report.record == record and report.foreign and report.store not in record.lost
    ]
    if not beyond:
        return None
    past = tuple(sorted({*record.past, beyond[-1] + 1}))
    return Record(record.epoch + 1, record.size, past, _stores(members, beyond[-1] + 1), record.lost)


def _stores(members: Members, reach: int) -> dict[int, str]:
    """Return the stores that the ordinals below `reach` must have: as the record names them, and new ones by report."""
    record = members.record
    if record is None:
        return {}
    stores = {ordinal: store for ordinal, store in record.stores.items() if ordinal < reach}
    for ordinal, report in heard(members).items():
        free = ordinal not in stores or given_up(record, ordinal)
        if ordinal < reach and free and report.store not in record.lost:
            stores[ordinal] = report.store
    return stores
