"""Handing sessions to the replica that should have them: when each leaves, and how many at a time. What happens, point
by point, is told in `points`; what becomes of a session that was sent, in `receipt`.

Sessions leave at their own pace: each that is quiet goes with the next message, few enough are frozen at a time that
one message carries them, and one that runs holds up nobody. Each receiver has a way of its own: one that hangs, or puts
off what it is sent, keeps nothing from the others, and has no more frozen for it than it was sent already.
"""

import asyncio
import logging
from collections import defaultdict
from collections.abc import Callable
from itertools import islice

from mooring_runtime.errors import RequestError
from mooring_runtime.metrics.sessions import SessionStats
from mooring_runtime.sessions.copies import Copy, Kept, Phase, Target
from mooring_runtime.sessions.encoding import Packed
from mooring_runtime.sessions.entries import Entry
from mooring_runtime.sessions.keys import Key
from mooring_runtime.sessions.membership import Membership
from mooring_runtime.sessions.messages import Offer, Offered, Take, Verdicts
from mooring_runtime.sessions.peers import PeerFailed, Talk
from mooring_runtime.sessions.placement import place
from mooring_runtime.sessions.points import Point, Reached
from mooring_runtime.sessions.receipt import Newer, Receipt
from mooring_runtime.sessions.record import Record
from mooring_runtime.sessions.table import Table
from mooring_runtime.sessions.ways import MOST_BYTES, Way, parts

__all__ = ["Clock", "Handoff", "Point", "Reached"]

log = logging.getLogger(__name__)

_MOST_SESSIONS = 64
"""That are frozen at a time for one receiver."""
_OFFER_WITHIN = 2.0
_TAKE_WITHIN = 10.0
"""Seconds for an answer."""
_FEW = 8
"""Sessions that are sent again with one message: each waits for its turn, so it may be large."""
_SLICE = 256
"""Sessions that are looked at between two turns of the event loop: some 2 ms."""
_ENOUGH = 10_000
"""Sessions that are looked at to see whether any has left."""
_NOBODY = -1
"""In place of a receiver: the way of what was on its way to a store that was given up."""
_FIRST_PAUSE, _LONGEST_PAUSE = 0.05, 2.0
"""Seconds before what could not be handed over is tried again."""


Clock = Callable[[], int]
"""Tells milliseconds since 1970."""


class Handoff:
    """Hands over what is foreign here. Use: `start()`, and `close()` before the table's."""

    def __init__(self, membership: Membership, table: Table, talk: Talk, newer: Newer, stats: SessionStats) -> None:
        self._membership = membership
        self._table = table
        self._talk = talk
        self._stats = stats
        self.clock: Clock = lambda: 0
        self.reached: Reached = lambda point, key: None
        """Called at every point that is this side's."""
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._receipt = Receipt(membership, table, newer, stats, self._at)
        self._ways: dict[int, asyncio.Task[None]] = {}
        """To each receiver that is being spoken to."""
        self._pauses: dict[int, float] = {}
        """Seconds after which the receivers that took nothing are tried again."""
        self._resting: dict[int, asyncio.TimerHandle] = {}
        """Receivers whose pause is not over."""
        self._epoch = 0
        """Of the last look at what is foreign."""
        membership.woken = self._wake.set

    def _at(self, point: Point, key: Key) -> None:
        self.reached(point, key)

    def start(self) -> None:
        """Begin to hand over."""
        self._wake.set()
        self._task = asyncio.get_running_loop().create_task(self._run())

    def close(self) -> None:
        """Hand over no more; what is frozen stays frozen, on disk too, and is sent again at the next start."""
        for task in (self._task, *self._ways.values()):
            if task is not None:
                task.cancel()
        for timer in self._resting.values():
            timer.cancel()

    async def _run(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            try:
                await self._round(self._membership.record())
            except RequestError as error:  # There is no membership, or it does not want this volume.
                log.info("hands over nothing: %s", error)
                self._later(_NOBODY, _LONGEST_PAUSE)
            except Exception:  # Else nothing would ever leave again.
                log.exception("a fault while sessions were handed over")
                self._later(_NOBODY, _LONGEST_PAUSE)

    async def _round(self, record: Record) -> None:
        """Begin to hand over what is foreign, to those that are neither being spoken to nor resting."""
        if record.epoch != self._epoch:  # Perhaps it has freed the way.
            self._epoch = record.epoch
            self._pauses.clear()
            for timer in self._resting.values():
                timer.cancel()
            self._resting.clear()
        ways: dict[int, Way] = defaultdict(Way)
        for index, key in enumerate(list(self._membership.foreign)):
            if index % _SLICE == _SLICE - 1:
                await asyncio.sleep(0)
            entry = self._table.get(key)
            copy = None if entry is None else entry.copy
            if copy is None or key in self._table.quarantined:
                continue
            if copy.phase is Phase.MOVING and copy.to is not None:
                if copy.to.store in record.lost:
                    ways[_NOBODY].lost[key] = copy.since
                else:
                    ways[copy.to.ordinal].frozen[copy.to].append(key)
            elif copy.phase is Phase.HELD:
                ways[place(key, record.size)].held.append(key)
        for ordinal, way in ways.items():
            if ordinal not in self._ways and ordinal not in self._resting:
                self._ways[ordinal] = asyncio.get_running_loop().create_task(self._go(ordinal, way, record))

    async def _go(self, ordinal: int, way: Way, record: Record) -> None:
        """Try once to hand over what is to go to one receiver."""
        worthwhile = False
        try:
            await asyncio.gather(*[self._receipt.recover(key, since, record) for key, since in way.lost.items()])
            frozen = 0
            for target, keys in way.frozen.items():
                frozen += await self._repeat(target, keys)
            if frozen < _MOST_SESSIONS:
                await self._leave(ordinal, way.held, record, _MOST_SESSIONS - frozen)
            foreign = self._membership.foreign
            worthwhile = any(key not in foreign for key in islice(way, _ENOUGH))
        except RequestError as error:  # The record has changed, and does not want this volume any more.
            log.info("hands over nothing to ordinal %d: %s", ordinal, error)
        except Exception:  # Else nothing would ever leave again.
            log.exception("a fault while sessions were handed over to ordinal %d", ordinal)
        finally:
            del self._ways[ordinal]
            self._rest(ordinal, worthwhile=worthwhile)

    def _rest(self, ordinal: int, *, worthwhile: bool) -> None:
        """Speak to a receiver again: soon where it took something, else after a pause that grows."""
        if worthwhile or self._membership.epoch != self._epoch:
            self._pauses.pop(ordinal, None)
            self._wake.set()
            return
        pause = self._pauses.get(ordinal, _FIRST_PAUSE)
        self._pauses[ordinal] = min(2 * pause, _LONGEST_PAUSE)
        self._later(ordinal, pause)

    def _later(self, ordinal: int, pause: float) -> None:
        earlier = self._resting.pop(ordinal, None)
        if earlier is not None:
            earlier.cancel()

        def over() -> None:
            self._resting.pop(ordinal, None)
            if self._membership.foreign:
                self._wake.set()

        self._resting[ordinal] = asyncio.get_running_loop().call_later(pause, over)

    # --- what was frozen earlier: by this process and not answered, or by one before it

    async def _repeat(self, target: Target, keys: list[Key]) -> int:
        """How many stay frozen."""
        left = len(keys)
        for start in range(0, len(keys), _FEW):
            batch = [found for key in keys[start : start + _FEW] if (found := await self._again(key, target))]
            if not batch:
                continue
            taken = await self._send(target, batch)
            if taken is None:
                break
            left -= taken
        return left

    async def _again(self, key: Key, target: Target) -> Packed | None:
        try:
            async with self._table.turn(key) as entry:
                copy = entry.copy
                if copy is None or copy.phase is not Phase.MOVING or copy.to != target:
                    return None
                return self._handed(entry, copy)
        except RequestError as error:
            log.error("cannot read session '%s' of model '%s' to hand it over: %s", key.session, key.model, error)
            return None

    # --- what is held: points 0 to 3

    async def _leave(self, ordinal: int, keys: list[Key], record: Record, most: int) -> None:
        """Hand over sessions that are held here, those of one kind after those of another; freeze `most` at a time."""
        kinds: dict[tuple[str, str, str], list[tuple[Key, int]]] = defaultdict(list)
        for index, key in enumerate(keys):
            if index % _SLICE == _SLICE - 1:
                await asyncio.sleep(0)
            entry = self._table.get(key)
            if entry is not None and entry.copy is not None:
                copy = entry.copy
                # What has ended is stepped by nobody any more, so any replica can keep it.
                state = ("", "") if copy.end is not None else (copy.version, copy.fingerprint)
                kinds[(key.model, *state)].append((key, copy.size))
        for kind, leaving in kinds.items():
            offer = Offer(*kind, len(leaving), sum(size for _, size in leaving))
            try:
                answer = await self._talk.tell(ordinal, offer, _OFFER_WITHIN)
            except (PeerFailed, RequestError) as error:
                log.info("cannot offer %d sessions to ordinal %d: %s", len(leaving), ordinal, error)
                return
            self.reached(Point.OFFER, leaving[0][0])
            if self._membership.epoch != record.epoch or not isinstance(answer.body, Offered):
                return  # The record has changed: perhaps they need not leave.
            if answer.body.cause:
                log.info("ordinal %d takes no sessions of model '%s': %s", ordinal, kind[0], answer.body.cause)
            elif not await self._stream(Target(ordinal, answer.body.store), leaving, record, most):
                return

    async def _stream(self, target: Target, leaving: list[tuple[Key, int]], record: Record, most: int) -> bool:
        """Freeze and send, at most `most` at a time; whether the receiver goes on taking them.

        What is frozen leaves at once: a session that ran while others froze would else answer nobody until the message
        with those is answered, and until its own is.
        """
        waiting = leaving[::-1]
        freezing: dict[asyncio.Task[Packed | None], int] = {}
        sending: dict[asyncio.Task[int | None], int] = {}
        """Messages under way, with how many sessions each."""
        loop, takes = asyncio.get_running_loop(), True
        try:
            while (waiting and takes) or freezing or sending:
                # None joins those that are under way: what is put off stays frozen and answers nobody.
                while waiting and takes and not sending and len(freezing) < most:
                    key, size = waiting[-1]
                    if freezing and sum(freezing.values()) + size > MOST_BYTES:
                        break
                    waiting.pop()
                    freezing[loop.create_task(self._freeze(key, target, record))] = size
                done, _ = await asyncio.wait((*freezing, *sending), return_when=asyncio.FIRST_COMPLETED)
                for answered in [task for task in sending if task in done]:
                    if answered.result() != sending.pop(answered):
                        takes = False
                ended = [task for task in freezing if task in done]
                for task in ended:
                    del freezing[task]
                if batch := [handed for task in ended if (handed := task.result()) is not None]:
                    sending[loop.create_task(self._send(target, batch))] = len(batch)
                # Under another record those that wait may have another place, or none to go to.
                takes = takes and self._membership.epoch == record.epoch
        finally:
            for each in (*freezing, *sending):
                each.cancel()
        return takes

    async def _freeze(self, key: Key, target: Target, record: Record) -> Packed | None:
        """Points 1 and 2; None where the session stays after all, or is no longer here."""
        try:
            async with self._table.turn(key) as entry:
                copy = entry.copy
                if entry.pending:
                    # Steps that were answered and are not on disk: had one of them no room there, the small commit of
                    # the freeze might have, and would count a step that the state does not have.
                    await self._membership.barrier()
                if copy is None or copy.phase is not Phase.HELD or self._membership.epoch != record.epoch:
                    return None
                self.reached(Point.QUIET, key)
                moving = copy._replace(phase=Phase.MOVING, to=target, rewound=entry.rewound)
                await self._table.write_all([(entry, Kept(moving, entry.state, entry.replies))], new_state=False)
                self.reached(Point.FROZEN, key)
                return self._handed(entry, moving)
        except RequestError as error:
            log.error("cannot freeze session '%s' of model '%s': %s", key.session, key.model, error)
            return None

    def _handed(self, entry: Entry, copy: Copy) -> Packed:
        used = copy.last_used if copy.end is None else copy.end.time
        return Packed(entry.key, Kept(copy, entry.state, entry.replies), max(0, self.clock() - used))

    async def _send(self, target: Target, batch: list[Packed]) -> int | None:
        """Point 3, once, in as many messages as it takes, and what their answers lead to; how many it has answered with
        `taken`, or with a refusal that ends the move. None: there was no answer.
        """
        settled = 0
        for part in parts(batch):
            try:
                take = Take(tuple(part), tuple(map(self._receipt.proved, part)))
                answer = await self._talk.tell(target.ordinal, take, _TAKE_WITHIN, target.store)
            except (PeerFailed, RequestError) as error:
                log.warning("ordinal %d does not take %d sessions, which wait: %s", target.ordinal, len(part), error)
                self._stats.handoffs["out", "lost"] += len(part)
                return None
            if not isinstance(answer.body, Verdicts) or len(answer.body.verdicts) != len(part):
                log.error("ordinal %d does not answer for each of %d sessions", target.ordinal, len(part))
                return None
            verdicts = zip(part, answer.body.verdicts, strict=True)
            settled += sum(
                await asyncio.gather(*[self._receipt.settle(handed, found, answer.epoch) for handed, found in verdicts])
            )
        return settled
