"""The jobs that wait, and which of them run next. Pure: no clock, no loop.

Each lane holds jobs that may share a run (the same trailing shapes, the same outputs), by priority level and then by
arrival. The next run is that of the lane whose first job has the highest level and has waited longest, so that within
a level no shape can starve another. The rest of that run is filled from the same lane, lower levels included: room
that would else be left empty.
"""

from collections import deque
from collections.abc import Hashable

from mooring_runtime.scheduling.jobs import ALONE, Job


class Lanes:
    """Jobs that wait; a run takes at most `most` samples, and always at least one job."""

    def __init__(self, most: int) -> None:
        self.most = most
        """Samples of a full run."""
        self._lanes: dict[Hashable, deque[Job]] = {}
        self.count = 0
        """Jobs that wait."""

    def push(self, job: Job) -> None:
        """Add a job behind those of its level."""
        self.count += 1
        lane = self._lanes.get(job.like)
        if lane is None:
            self._lanes[job.like] = deque((job,))
        elif lane[-1].level <= job.level:
            lane.append(job)
        else:
            place = next(index for index, other in enumerate(lane) if other.level > job.level)
            lane.insert(place, job)

    def remove(self, job: Job) -> bool:
        """Take out a job; false when it does not wait here."""
        lane = self._lanes.get(job.like)
        if lane is None or job not in lane:
            return False
        lane.remove(job)
        self.count -= 1
        if not lane:
            del self._lanes[job.like]
        return True

    def oldest(self) -> float | None:
        """When the job that waits longest has arrived; None when none waits."""
        return min((job.arrived for lane in self._lanes.values() for job in lane), default=None)

    def lead(self) -> tuple[Hashable, int]:
        """(the `like` of the next run, its samples as far as they wait now). Some job must wait."""
        lane = self._first()
        if lane[0].like is ALONE:
            return ALONE, lane[0].rows
        rows = 0
        for job in lane:
            rows += job.rows
            if rows >= self.most:
                break
        return lane[0].like, rows

    def take(self, now: float) -> tuple[list[Job], list[Job]]:
        """(the jobs of the next run, jobs whose deadline has passed); both are out of here. Some job must wait."""
        lane = self._first()
        like = lane[0].like
        batch: list[Job] = []
        late: list[Job] = []
        room = self.most
        while lane:
            job = lane[0]
            if job.deadline <= now:
                late.append(lane.popleft())
                continue
            if batch and (job.rows > room or like is ALONE):
                break
            batch.append(lane.popleft())
            room -= job.rows
            if room <= 0:
                break
        self.count -= len(batch) + len(late)
        if not lane:
            del self._lanes[like]
        return batch, late

    def _first(self) -> deque[Job]:
        lanes = self._lanes.values()
        if len(lanes) == 1:
            for lane in lanes:
                return lane
        return min(lanes, key=lambda lane: (lane[0].level, lane[0].arrived))
