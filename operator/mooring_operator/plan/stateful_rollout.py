"""How a new pod template reaches a stateful service: one replica at a time, back with its sessions before the next one.

The StatefulSet replaces no pod by itself (`OnDelete`). The operator evicts one, waits until it is ready again and
reports that it can read its sessions, and only then takes the next. What fails is put back before a second replica is
touched, and the first one is replaced once more, so that it serves again.

The marks on the StatefulSet are the only memory, its ControllerRevisions hold the templates.
"""

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Final

from ..api import names
from ..api.quantities import seconds
from ..facts import Manifest, Members, ObjectKey, Observed, Pod, Service
from ..sessions import drained, heard
from .templates import Marks, find, hash_of, marks_of, of_revisions, seen

PATIENCE: Final = 0.5
"""Part of the drain's time for which a rollout waits for a resize: a version that can take the sessions of those that
leave must come while they are still there."""
_TIME: Final = "%Y-%m-%dT%H:%M:%SZ"


@dataclass(frozen=True)
class Rollout:
    """What becomes of the pod template and of the pods in this round."""

    template: Manifest | None = None
    """In place of the one that the spec asks for."""
    evict: Pod | None = None
    marks: Marks = field(default_factory=Marks)
    stalled: bool = False
    reason: str = ""
    message: str = ""
    steady: bool = False
    """Every replica is of the wanted version, and it is known to be good."""


def rollout(service: Service, observed: Observed, wanted: str) -> Rollout:
    """Return what to do, where `wanted` is the hash of the pod template that the spec asks for."""
    stateful_set = observed.children.get(ObjectKey("StatefulSet", service.name))
    if stateful_set is None:
        return Rollout()
    view = _View(service, observed, stateful_set)
    if view.present != wanted:
        return _rejected(view) if view.marks.failed == wanted else _begin(view, wanted)
    if _whole(view):
        return Rollout(marks=Marks(good=wanted), steady=True)
    if view.marks.good == wanted:
        # It has served everywhere, so what is down now, or of another version, is not its fault.
        return _next(view, wanted, replace(view.marks, waits_since=""))
    marks = _timed(view)
    failure = _failure(view) or _late(view, marks)
    return _failed(view, marks, failure) if failure else _next(view, wanted, marks)


class _View:
    """The StatefulSet and its replicas as they stand."""

    def __init__(self, service: Service, observed: Observed, stateful_set: Manifest) -> None:
        self.service, self.observed, self.stateful_set = service, observed, stateful_set
        self.members = observed.members or Members()
        self.template: Manifest = stateful_set["spec"]["template"]
        self.present = hash_of(self.template)
        self.marks = marks_of(stateful_set)
        self.reports = heard(self.members)
        count, record = stateful_set["spec"].get("replicas", 1), self.members.record
        self.pods = {pod.ordinal: pod for pod in observed.pods if pod.ordinal is not None and pod.ordinal < count}
        # One that is still to become a member has no sessions, and may wait for an accelerator for ever.
        self.serving = range(count if record is None else min(count, record.reach))

    def down(self, ordinal: int) -> bool:
        """Tell whether a replica does not answer, as far as is known."""
        pod = self.pods.get(ordinal)
        return pod is None or not pod.ready or pod.node in self.members.lost_nodes

    def trying(self, target: str) -> list[int]:
        """Return the replicas that are to run a template, and do not yet."""
        missing = [ordinal for ordinal in self.serving if ordinal not in self.pods]
        # A pod that no node takes says nothing of its template, where no sessions wait for it.
        begun = [o for o, pod in self.pods.items() if pod.template_hash == target and (o in self.serving or pod.node)]
        return sorted(missing + [ordinal for ordinal in begun if self.down(ordinal)])

    def excused(self, ordinal: int) -> bool:
        """Tell whether a replica is down for a cause that no template has: a lost node, or an old pod that still ends.

        While the old pod is there Kubernetes starts no other one, however long that takes.
        """
        pod = self.pods.get(ordinal)
        if pod is None:
            return any(each.ordinal == ordinal for each in self.members.ending)
        return pod.node in self.members.lost_nodes

    def good(self) -> Manifest | None:
        """Return the last good template."""
        return find(of_revisions(self.members.revisions), self.marks.good)

    def moves(self) -> bool:
        """Tell whether sessions still move, and have time to."""
        record = self.members.record
        moving = record is not None and not record.settled and self.members.resized is not None
        return moving and not drained(self.service, self.observed, PATIENCE)


def _whole(view: _View) -> bool:
    """Tell whether every replica is of the present template, answers, and can read what it has."""
    return (
        seen(view.stateful_set)
        and all(pod.template_hash == view.present for pod in view.pods.values())
        and not any(view.down(ordinal) for ordinal in view.serving)
        and all(o in view.reports and not view.reports[o].unreadable for o in view.serving)
    )


def _failed(view: _View, marks: Marks, failure: str) -> Rollout:
    """The wanted template fails: put the last good one in its place, where there is one."""
    good = view.good()
    if good is None:
        message = f"{failure}. There is no version to go back to. Correct the spec; the rollout goes on from there"
        return Rollout(marks=marks, stalled=True, reason="RolloutFailed", message=message)
    message = f"{failure}. The last good version is put back, and the replica is started with it again"
    # The failure is marked before the template changes: whoever goes on after a crash must not try it again.
    failed = Marks(marks.good, view.present, failure)
    return Rollout(good, marks=failed, stalled=True, reason="RolledBack", message=message)


def _rejected(view: _View) -> Rollout:
    """The wanted template has failed: the last good one stays or comes back, also to who has another one."""
    message = (
        f"{view.marks.failed_message}. The last good version goes on serving. Change the spec, or remove the "
        f"annotation {names.ANNOTATION_FAILED_TEMPLATE} from the StatefulSet to try the same version again"
    )
    marks = replace(view.marks, waits_since="")
    if view.present != marks.good and (good := view.good()) is not None:
        return Rollout(good, marks=marks, stalled=True, reason="VersionRejected", message=message)
    back = _next(view, view.present, marks)
    return replace(back, template=view.template, stalled=True, reason="VersionRejected", message=message)


def _begin(view: _View, wanted: str) -> Rollout:
    """Put another template on the StatefulSet once a replica may be replaced, and not before.

    A pod that is made anew for any other cause comes with the template that stands there: drained nodes would bring an
    untried version to several replicas at once.
    """
    marks = replace(view.marks, waits_since="")
    _, waits = _turn(view, wanted)
    tried = view.marks.good == view.present
    # One that is gone, and free to start, is the one to replace: it comes back with the new version.
    free = any(ordinal not in view.pods and not view.excused(ordinal) for ordinal in view.serving)
    # One that has it already (it was asked for before, and taken back) shows what it is worth.
    begun = any(pod.template_hash == wanted for pod in view.pods.values())
    if not waits or free or begun or not tried:
        return Rollout(marks=marks)
    return Rollout(view.template, marks=marks, reason="RolloutWaits", message=waits)


def _next(view: _View, target: str, marks: Marks) -> Rollout:
    pod, waits = _turn(view, target)
    if pod is not None and not seen(view.stateful_set):
        pod, waits = None, "the StatefulSet's controller has not seen the new version yet"
    return Rollout(evict=pod, marks=marks, reason="RolloutWaits" if waits else "", message=waits)


def _turn(view: _View, target: str) -> tuple[Pod | None, str]:
    """Return the pod whose turn it is to come back with `target`, or None and what is waited for, if anything is."""
    old = [pod for _, pod in sorted(view.pods.items(), reverse=True) if pod.template_hash != target]
    if not old:
        return None, ""
    # One whose claim somebody has deleted would come back with an empty volume: that is nothing for a rollout to do.
    outdated = [pod for pod in old if pod.ordinal not in view.members.going]
    if not outdated:
        return None, f"the claim of replica {old[0].ordinal} is being deleted, and would go with its pod"
    proved = target == view.marks.good
    down = [ordinal for ordinal in view.serving if view.down(ordinal)]
    fresh = view.trying(target)
    if fresh and not proved:
        return None, f"waiting for replica {fresh[0]} to be ready"
    broken = [pod for pod in outdated if not pod.ready and pod.node not in view.members.lost_nodes]
    if broken:
        return broken[0], ""  # It is down already: replacing it takes nothing away.
    if down:
        return None, f"waiting for replica {down[0]} to be ready: never are two down at once"
    back = [ordinal for ordinal, pod in view.pods.items() if pod.template_hash == target and pod.ready]
    untold = [ordinal for ordinal in back if ordinal not in view.reports]
    if untold and not proved:
        return None, f"waiting for replica {untold[0]} to report whether it can read its sessions"
    # The one that failed first, then what else was not good, so that the fewest versions serve at a time.
    pod = min(outdated, key=lambda pod: (pod.template_hash != view.marks.failed, pod.template_hash == view.marks.good))
    # Whoever is away meanwhile holds up every session that goes to it, and every new id. Not so what may itself be the
    # reason why sessions do not move, and not for ever.
    if pod.template_hash == view.marks.good and view.moves():
        return None, "waiting until the sessions of an earlier size have moved, or half of the drain's time is over"
    return pod, ""


def _timed(view: _View) -> Marks:
    """Note whom the rollout waits for, and since when; the time runs anew for the next one."""
    waiting = [ordinal for ordinal in view.trying(view.present) if not view.excused(ordinal)]
    ordinal, since = _waits(view.marks)
    if ordinal in waiting and since is not None:
        return view.marks
    stamp = view.observed.now.astimezone(UTC).strftime(_TIME)
    return replace(view.marks, waits_since=f"{waiting[0]} {stamp}" if waiting else "")


def _waits(marks: Marks) -> tuple[int | None, datetime | None]:
    ordinal, _, stamp = marks.waits_since.partition(" ")
    try:
        return int(ordinal), datetime.strptime(stamp, _TIME).replace(tzinfo=UTC)
    except ValueError:
        return None, None


def _failure(view: _View) -> str:
    """Return why a replica cannot go on with the present template; empty where none fails."""
    for ordinal, pod in sorted(view.pods.items()):
        if pod.template_hash != view.present or view.excused(ordinal):
            continue
        report = view.reports.get(ordinal)
        # Before it is ready its model may not be loaded yet, and then it can read nothing.
        if pod.ready and report is not None and report.unreadable:
            return (
                f"replica {ordinal} has {report.unreadable} sessions whose state the new version cannot go on from: "
                "give it a converter (spec.state.converter), or a model that reads the old state"
            )
        if not pod.ready and pod.failure is not None and pod.failure.permanent:
            return f"replica {ordinal}: {pod.failure.reason}: {pod.failure.message}".rstrip(".")
    return ""


def _late(view: _View, marks: Marks) -> str:
    """Return what is known of a replica that does not become ready in time; empty while it has time."""
    ordinal, since = _waits(marks)
    deadline = view.service.spec.rollout.progress_deadline
    if ordinal is None or since is None or view.observed.now - since < timedelta(seconds=seconds(deadline)):
        return ""
    pod = view.pods.get(ordinal)
    cause = "no pod could be made" if pod is None else pod.unschedulable
    if pod is not None and pod.failure is not None:
        cause = f"{pod.failure.reason}: {pod.failure.message}"
    return f"replica {ordinal} is not ready {deadline} after it was replaced" + (f": {cause}" if cause else "").rstrip(
        "."
    )
