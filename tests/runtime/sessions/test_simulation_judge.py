"""What the judge of the simulation lets pass after an end: a late start, once all is forgotten, and nothing else."""

from dataclasses import dataclass, field

import numpy as np
import pytest

from mooring_runtime.messages import Tensor
from mooring_runtime.sessions.copies import Copy, End, Kept, Phase, Target
from mooring_runtime.sessions.keys import Key
from mooring_runtime.sessions.record import Record
from mooring_runtime.sessions.store import Change
from tests.support.memory_store import Disk
from tests.support.simulation.judge import Judge

KEY = Key("m", "s")
SETTLED, RESIZED, LATER = Record(3, 2), Record(3, 2, (1,)), Record(4, 2)
LIFE = Copy(Phase.HELD, 3, incarnation=7, step=1)
NEXT = Copy(Phase.HELD, 3, incarnation=8, step=1)


@dataclass
class Volume:
    """The disk of one replica, of which the judge hears."""

    judge: Judge
    ordinal: int
    disk: Disk = field(default_factory=lambda: Disk(record=SETTLED))

    def write(self, copy: Copy | None, *log: int) -> None:
        """Commit what is known of the session from now on."""
        before = self.disk.kept.pop(KEY, None)
        if copy is not None:
            state = (Tensor("log", "INT64", np.array(log, np.int64)),) if log else ()
            self.disk.kept[KEY] = Kept(copy, state)
        self.judge.written(self.ordinal, Change(KEY, copy), before)


@pytest.fixture
def volumes() -> list[Volume]:
    replicas: dict[int, Volume] = {}
    judge = Judge(replicas)
    replicas.update({ordinal: Volume(judge, ordinal) for ordinal in range(2)})
    return list(replicas.values())


def ended(volume: Volume, starts: int = 2) -> Judge:
    """A session of one step, which its client began with one of so many starts, and that has ended."""
    for _ in range(starts):
        volume.judge.started(KEY)
    volume.write(LIFE, 1)
    volume.write(LIFE._replace(step=2, end=End("ended", 1, 2)), 1, 2)
    return volume.judge


def test_a_late_start_begins_a_new_life_when_all_is_forgotten(volumes: list[Volume]) -> None:
    judge = ended(volumes[0])
    volumes[0].write(None)
    volumes[1].disk.record = LATER
    volumes[1].write(NEXT._replace(since=4), 1)
    assert judge.violations == []
    assert (judge.applied[KEY], list(judge.ended), list(judge.again)) == ([1], [], [KEY])


def test_the_new_life_is_judged_as_the_first_was(volumes: list[Volume]) -> None:
    judge = ended(volumes[0])
    volumes[0].write(None)
    volumes[0].write(NEXT, 1)
    volumes[0].write(NEXT._replace(step=2), 1, 1)
    assert judge.violations == ["s: applied twice: [1, 1]"]


def test_a_start_is_no_new_life_while_the_end_is_known(volumes: list[Volume]) -> None:
    judge = ended(volumes[0])
    volumes[0].write(NEXT, 1)
    assert "s: has ended, and is back at ordinal 0" in judge.violations


def test_an_end_that_is_dropped_under_a_record_that_is_not_settled_is_not_forgotten(volumes: list[Volume]) -> None:
    judge = ended(volumes[0])
    volumes[0].disk.record = RESIZED
    volumes[0].write(None)
    volumes[0].disk.record = LATER
    volumes[0].write(NEXT._replace(since=4), 1)
    assert "s: has ended, and is back at ordinal 0" in judge.violations


def test_an_end_is_not_forgotten_while_a_frozen_copy_is_left(volumes: list[Volume]) -> None:
    judge = ended(volumes[0])
    volumes[1].write(LIFE._replace(phase=Phase.MOVING, to=Target(0, "store")), 1)
    volumes[0].write(None)
    volumes[0].write(NEXT, 1)
    assert "s: has ended, and is back at ordinal 0" in judge.violations


@pytest.mark.parametrize(
    ("copy", "log"),
    [
        (LIFE, (1,)),
        (NEXT._replace(step=2), (1, 2)),
        (NEXT._replace(since=2), (1,)),
        (NEXT, (2,)),
    ],
    ids=["the life that has ended", "more than a start", "made under an older epoch", "another step than the first"],
)
def test_what_is_no_start_is_not_let_pass(volumes: list[Volume], copy: Copy, log: tuple[int, ...]) -> None:
    judge = ended(volumes[0])
    volumes[0].write(None)
    volumes[0].write(copy, *log)
    assert "s: has ended, and is back at ordinal 0" in judge.violations


def test_each_life_needs_a_start_that_a_client_has_sent(volumes: list[Volume]) -> None:
    judge = ended(volumes[0], starts=1)
    volumes[0].write(None)
    volumes[0].write(NEXT, 1)
    assert "s: has ended, and is back at ordinal 0" in judge.violations
