"""What the asker may read: told by the API server, and kept for a few seconds."""

import asyncio
import time
from collections.abc import Callable
from typing import Final, NamedTuple

from ..api import names
from ..cluster.errors import KubeError
from ..cluster.kinds import SUBJECT_ACCESS_REVIEW
from ..cluster.kube import Kube
from ..facts import Manifest
from .identity import Identity
from .wire import ApiError

KEPT_SECONDS: Final = 10.0
"""A right that was taken away still holds for so long, and one that was given may be refused for so long."""
MOST_KEPT: Final = 4096
"""Decisions in memory: an asker can make up any number of metrics and namespaces."""


class Question(NamedTuple):
    """May this user read this metric in this namespace?"""

    who: Identity
    namespace: str
    metric: str


class Decision(NamedTuple):
    """What the API server said, and when (monotonic seconds) it is forgotten."""

    allowed: bool
    reason: str
    until: float


class Decisions:
    """What was decided in the last `KEPT_SECONDS`, and of that the latest `MOST_KEPT`. Pure but for its clock."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._known: dict[Question, Decision] = {}

    def __len__(self) -> int:
        return len(self._known)

    def find(self, question: Question) -> Decision | None:
        """Return what was decided; None when nobody has asked lately."""
        found = self._known.get(question)
        return found if found is not None and found.until > self._clock() else None

    def keep(self, question: Question, allowed: bool, reason: str) -> Decision:
        """Note what was decided just now, and return it."""
        decision = Decision(allowed, reason, self._clock() + KEPT_SECONDS)
        # In the order in which they were asked: what stands first is forgotten first.
        self._known.pop(question, None)
        self._known[question] = decision
        while len(self._known) > MOST_KEPT or self._oldest().until <= self._clock():
            del self._known[next(iter(self._known))]
        return decision

    def _oldest(self) -> Decision:
        return next(iter(self._known.values()))


class Permissions:
    """The decisions of the API server, each asked for once at a time."""

    def __init__(self, kube: Kube) -> None:
        self._kube = kube
        self._decisions = Decisions()
        self._asked: dict[Question, asyncio.Task[Decision]] = {}

    async def check(self, question: Question) -> None:
        """Return when the user may read it. Raises `ApiError`: 403 when he may not, 503 when nobody can tell."""
        decision = self._decisions.find(question) or await self._ask_once(question)
        if not decision.allowed:
            because = f": {decision.reason}" if decision.reason else ""
            group = names.EXTERNAL_METRICS_GROUP
            raise ApiError(
                403,
                f'{question.metric}.{group} is forbidden: User "{question.who.user}" cannot list resource '
                f'"{question.metric}" in API group "{group}" in the namespace "{question.namespace}"{because}',
            )

    async def _ask_once(self, question: Question) -> Decision:
        """Ask, or wait for the answer that another request is waiting for."""
        asked = self._asked.get(question)
        if asked is None:
            asked = asyncio.create_task(self._ask(question))
            self._asked[question] = asked
            asked.add_done_callback(lambda task: self._answered(question, task))
        try:
            # Shielded: the first asker may hang up, and the others still wait.
            return await asyncio.shield(asked)
        except KubeError as error:
            raise ApiError(503, f"cannot find out whether user {question.who.user!r} may read this: {error}") from error

    def _answered(self, question: Question, task: asyncio.Task[Decision]) -> None:
        self._asked.pop(question, None)
        if not task.cancelled():
            task.exception()  # else, when every asker has hung up, asyncio complains that nobody looked at it

    async def _ask(self, question: Question) -> Decision:
        answer = (await self._kube.create(SUBJECT_ACCESS_REVIEW, review(question))).get("status") or {}
        allowed = bool(answer.get("allowed")) and not answer.get("denied")
        return self._decisions.keep(question, allowed, str(answer.get("reason") or ""))


def review(question: Question) -> Manifest:
    """Return the SubjectAccessReview of a question: the verb is list, as the API server names a GET of values."""
    who = question.who
    spec: Manifest = {
        "user": who.user,
        "groups": list(who.groups),
        "extra": {key: list(values) for key, values in who.extra},
        "resourceAttributes": {
            "group": names.EXTERNAL_METRICS_GROUP,
            "version": names.EXTERNAL_METRICS_VERSION,
            "resource": question.metric,
            "namespace": question.namespace,
            "verb": "list",
        },
    }
    if who.uid:
        spec["uid"] = who.uid
    return {
        "apiVersion": SUBJECT_ACCESS_REVIEW.api_version,
        "kind": SUBJECT_ACCESS_REVIEW.kind,
        "metadata": {},
        "spec": spec,
    }
