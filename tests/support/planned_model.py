"""The model of the protocol with the real plan as its operator."""

from collections.abc import Iterator
from functools import cache

from mooring_operator.api.membership import Record, Report
from mooring_operator.facts import Members, Observed, Pod
from mooring_operator.plan import plan
from tests.faults.protocol_model import world as model_world
from tests.faults.protocol_model.model import Model, Next
from tests.faults.protocol_model.world import HELD, MOVED, World
from tests.support.builders import NAME, observed, service, stateful_set

Hear = tuple[model_world.Record | None, bool, int]
"""What a replica says: the record that it goes by, whether it is clean under it, and how many sessions are foreign."""


class PlannedModel(Model):
    """As its base, but the records are those that `mooring_operator.plan` writes."""

    def operator(self, w: World) -> Next:
        """A user resizes, or the operator has a round."""
        if w.wish + 1 < len(self.s.sizes):
            yield "user resizes", True, w._replace(wish=w.wish + 1)
        heard = tuple(self._hear(w, ordinal) for ordinal in range(self.count))
        new = _decide(w.records[w.stored], self.s.sizes[w.wish], heard)
        if new is not None:
            later = w._replace(records=(*w.records, new), stored=len(w.records), clean=0)
            yield f"operator stores {new}", False, later

    def _hear(self, w: World, ordinal: int) -> Hear:
        """A report that has arrived: it may be an old one, but a replica that was clean under a record stays so."""
        me, stored = w.replicas[ordinal], w.records[w.stored]
        if w.clean >> ordinal & 1:
            return stored, True, 0
        if me.record < 0:
            return None, False, 0
        record = w.records[me.record]
        foreign = me.copy is not None and me.copy.phase != MOVED
        if foreign and me.copy is not None:
            foreign = me.copy.phase != HELD or self.place(record.size) != ordinal
        # What is clean now under the record that is kept is an event of its own: the report has still to arrive.
        return record, not foreign and me.record != w.stored, int(foreign)


@cache
def _decide(now: model_world.Record, wanted: int, heard: tuple[Hear, ...]) -> model_world.Record | None:
    count = len(heard)
    members = Members(record=_record(now), reports=dict(_reports(heard)))
    pods = tuple(Pod(f"{NAME}-{ordinal}", "v1", True, True, ordinal=ordinal) for ordinal in range(count))
    seen: Observed = observed(stateful_set("v1", replicas=count), pods=pods, members=members)
    moves = plan(service(replicas=wanted, state={"volume": {"size": "1Gi"}}), seen, "v1").moves
    assert moves is not None
    if moves.record is None:
        return None
    return model_world.Record(moves.record.epoch, moves.record.size, moves.record.past)


def forget() -> None:
    """The plan is another one now."""
    _decide.cache_clear()


def _reports(heard: tuple[Hear, ...]) -> Iterator[tuple[int, Report]]:
    for ordinal, (record, clean, foreign) in enumerate(heard):
        kept = None if record is None else _record(record)
        yield ordinal, Report(ordinal, f"store{ordinal}", 1, kept, clean, foreign=foreign)


def _record(record: model_world.Record) -> Record:
    reach = max(record.size, *record.past, record.size)
    stores = {ordinal: f"store{ordinal}" for ordinal in range(reach)}
    return Record(record.epoch, record.size, record.past, stores)
