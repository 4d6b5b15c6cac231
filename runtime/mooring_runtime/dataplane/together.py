"""The steps of one run whose sessions just go on, as nearly all do: made and committed as a group.

What they have in common is looked up once. Every other step lands by itself, and so do those of a group that cannot be
committed: one that is too large must not take its neighbours with it.
"""

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING

from mooring_runtime.dataplane.states import parted
from mooring_runtime.messages import Array
from mooring_runtime.scheduling import Run
from mooring_runtime.sessions.copies import Kept, StoredReply, kept_replies
from mooring_runtime.sessions.steps import Life, following
from mooring_runtime.sessions.together import Following

if TYPE_CHECKING:
    from mooring_runtime.dataplane.steps import Step

log = logging.getLogger(__name__)

_new = tuple.__new__
"""See `infer`."""


def land_together(first: "Step", jobs: "Sequence[Step]", results: Sequence[list[Array]], run: Run) -> None:
    """`land` for all steps of a run; `first` is one of them. Raises nothing."""
    sessions, metadata = first.sessions, first.metadata
    holder, schema = sessions.holder, metadata.state
    assert schema is not None
    limits = holder.limits
    alone = limits.lazy or limits.evict
    now, ran, most = sessions.ended(run), sessions.ran, limits.session_bytes
    version, fingerprint = metadata.version, schema.fingerprint
    group: list[Following] = []
    for job, arrays in zip(jobs, results, strict=True):
        entry = job.entry
        copy = None if entry is None or alone or not job.plain else entry.copy
        if copy is None or job.life is not Life.GO_ON or copy.version != version or copy.fingerprint != fingerprint:
            _land(job, arrays, run)
            continue
        assert entry is not None
        try:
            answered, state, size = parted(metadata, job.outputs, job.own_outputs, arrays)
            if size > most:
                holder.room.check(job.key, size)
            after = following(copy, version, fingerprint, size, now)
            stored = StoredReply(after.step, job.digest, answered)
            kept = _new(Kept, (after, state, kept_replies(entry.replies, stored)))
        except Exception as error:
            _fail(job, error)
            continue
        job.run, job.ran, job.answered, job.kept = run, ran, answered, kept
        group.append((entry, kept, job.written))
    if group:
        holder.table.follow(group)


def _land(job: "Step", results: list[Array], run: Run) -> None:
    try:
        job.land(results, run)
    except Exception:  # As in `_fail`.
        log.exception("a step of model '%s' cannot end", job.name)


def _fail(job: "Step", error: Exception) -> None:
    try:
        job.fail(error)
    except Exception:  # Those that were made before it are still to be committed: they would keep their turns for ever.
        log.exception("a step of model '%s' cannot be told that it has failed", job.name)
