"""Finding a session that is not held here, and proving that nobody holds it: `Elsewhere` among peers.

Many sessions may be created at once while a record is not settled, and each needs the word of the same few ordinals.
So the questions to one ordinal that come while it is answering others go together in its next message.
"""

import asyncio
from collections.abc import Iterable

from mooring_runtime.errors.sessions import OutcomeUnknown, SessionUnavailable
from mooring_runtime.messages import InferResponse
from mooring_runtime.metrics.sessions import SessionStats
from mooring_runtime.sessions.elsewhere import At, NotHere, Passed
from mooring_runtime.sessions.keys import Key
from mooring_runtime.sessions.membership import Membership
from mooring_runtime.sessions.messages import Ask, Presence, Presences
from mooring_runtime.sessions.passing import Step
from mooring_runtime.sessions.peers import PeerFailed, Talk, Unanswered, Unreachable
from mooring_runtime.sessions.placement import place, places
from mooring_runtime.sessions.record import Record

_WITHIN = 2.0
"""Seconds for an ordinal to say whether it has sessions."""
_MOST_KEYS = 256
"""Of one message."""
_ROUNDS = 5
"""Times that a question is begun anew because the record changed meanwhile."""


Question = tuple[Key, int]
"""A session, and since when who asks has a copy of it, see `Finding.newer`; 0: it has none."""


class Finding:
    """See `elsewhere.Elsewhere`."""

    def __init__(self, membership: Membership, talk: Talk, stats: SessionStats) -> None:
        self.ordinal = membership.ordinal
        self._membership = membership
        self._talk = talk
        self._stats = stats
        self._askers: dict[int, _Asker] = {}

    def record(self) -> Record:
        """See `Elsewhere.record`."""
        return self._membership.record()

    async def absent(self, key: Key) -> At | None:
        """See `Elsewhere.absent`."""
        return await self.newer(key, 0)

    async def newer(self, key: Key, since: int) -> At | None:
        """As `absent`, of who has a copy since that epoch which was on its way to a store that was given up: who may
        have anything newer.
        """
        for _ in range(_ROUNDS):
            record = self._membership.record()
            if record.settled:
                return None
            try:
                found = await self._ask(key, since, record)
            except SessionUnavailable:
                if self._membership.epoch == record.epoch:
                    raise
                continue
            if self._membership.epoch == record.epoch:
                return found
        raise SessionUnavailable(
            f"session '{key.session}' is searched while the membership changes", "search", session=key.session
        )

    async def _ask(self, key: Key, since: int, record: Record) -> At | None:
        """The place of the session is asked last, where it is not here: the session may be handed over there meanwhile,
        and would not be found if the place had answered before that and its old owner after it.
        """
        home = place(key, record.size)
        asked = may_hold(key, record, self.ordinal)
        found = await self._ask_all((key, since), record, [ordinal for ordinal in asked if ordinal != home])
        if found is None and home != self.ordinal and self._membership.epoch == record.epoch:
            found = await self._ask_all((key, since), record, [home])
        return found

    async def _ask_all(self, question: Question, record: Record, ordinals: list[int]) -> At | None:
        """The word of every one of `ordinals`; who holds it settles the matter, whoever else is silent."""
        asked = [self._asker(ordinal).ask(question) for ordinal in ordinals]
        words = await asyncio.gather(*asked, return_exceptions=True)
        silent: list[int] = []
        moving: At | None = None
        torn: At | None = None
        for ordinal, word in zip(ordinals, words, strict=True):
            if word is Presence.HERE:
                return At(ordinal)
            if word is Presence.MOVING:
                moving = At(ordinal, moving=True)
            elif word is Presence.TORN:
                torn = At(ordinal, torn=True)
            elif word is None or isinstance(word, PeerFailed):
                silent.append(ordinal)
            elif isinstance(word, BaseException):
                raise word
        if moving is not None or torn is not None or not silent:
            return moving or torn
        gone = [ordinal for ordinal in silent if ordinal >= record.size]
        raise SessionUnavailable(
            f"session '{question[0].session}' may be at ordinal {', '.join(map(str, silent))}, which does not answer"
            + (f"; {', '.join(map(str, gone))} left at a resize before its sessions had" if gone else ""),
            "stranded" if gone else "search",
            session=question[0].session,
        )

    async def pass_on(self, ordinal: int, passed: Passed) -> InferResponse:
        """See `Elsewhere.pass_on`."""
        call, forwards = passed.request.session, self._stats.forwards
        session = None if call is None else call.id or None
        step = None if call is None else call.step
        left = None if passed.deadline is None else passed.deadline - asyncio.get_running_loop().time()
        try:
            outcome = await self._talk.pass_on(ordinal, Step(passed.model, passed.version, passed.request, left))
        except Unanswered as failed:
            forwards["outcome-unknown"] += 1
            raise OutcomeUnknown(
                f"ordinal {ordinal} was given the step and its answer was lost: {failed}", session=session, step=step
            ) from failed
        except PeerFailed as failed:
            forwards["owner-down"] += 1
            raise self._down(ordinal, failed, session, step) from failed
        if isinstance(outcome, NotHere):
            forwards["moving" if outcome.moving else "not-here"] += 1
        else:
            forwards["answered"] += 1
        if isinstance(outcome, InferResponse):
            return outcome
        raise outcome

    def _down(self, ordinal: int, failed: PeerFailed, session: str | None, step: int | None) -> SessionUnavailable:
        """What a client is told of an owner that was sent nothing."""
        record = self._membership.adopted
        stranded = isinstance(failed, Unreachable) and record is not None and ordinal >= record.size
        return SessionUnavailable(
            f"ordinal {ordinal}, which should answer, does not: {failed}",
            "stranded" if stranded else "owner-down",
            session=session,
            step=step,
        )

    def _asker(self, ordinal: int) -> "_Asker":
        asker = self._askers.get(ordinal)
        if asker is None:
            asker = self._askers[ordinal] = _Asker(self._talk, ordinal)
        return asker

    def close(self) -> None:
        """End what is under way."""
        for asker in self._askers.values():
            asker.close()


def may_hold(key: Key, record: Record, ordinal: int) -> list[int]:
    """The ordinals besides `ordinal` that may hold a session under `record`."""
    return [each for each in places(key, (*record.past, record.size)) if each != ordinal]


class _Asker:
    """The questions to one ordinal."""

    def __init__(self, talk: Talk, ordinal: int) -> None:
        self._talk = talk
        self._ordinal = ordinal
        self._waiting: dict[Question, asyncio.Future[Presence | None]] = {}
        self._asking: asyncio.Task[None] | None = None

    async def ask(self, question: Question) -> Presence | None:
        """None: it has said nothing about the key, since the record has changed. Raises PeerFailed.

        Only a question that has not been sent is shared: an answer must be younger than what it is the answer to.
        """
        answer = self._waiting.get(question)
        if answer is None:
            answer = self._waiting[question] = asyncio.get_running_loop().create_future()
        if self._asking is None:
            self._asking = asyncio.get_running_loop().create_task(self._ask())
        return await asyncio.shield(answer)

    async def _ask(self) -> None:
        while self._waiting:
            questions = list(self._waiting)[:_MOST_KEYS]
            answers = [self._waiting.pop(question) for question in questions]
            try:
                words = await self._words(questions)
            except Exception as error:  # Whatever it is, those who ask must hear it, or they wait for ever.
                for each in answers:
                    each.set_exception(error)
                    each.exception()  # Perhaps nobody asks any more: then nobody is to be warned either.
                continue
            for each, word in zip(answers, words, strict=True):
                each.set_result(word)
        self._asking = None

    async def _words(self, questions: list[Question]) -> Iterable[Presence | None]:
        keys, since = zip(*questions, strict=True)
        answer = await self._talk.tell(self._ordinal, Ask(keys, since if any(since) else ()), _WITHIN)
        if isinstance(answer.body, Presences) and len(answer.body.words) == len(keys):
            return answer.body.words
        return [None] * len(keys)

    def close(self) -> None:
        """End what is under way."""
        if self._asking is not None:
            self._asking.cancel()
