"""Single versions: brought, replaced, dismissed, put to sleep and woken; every method is called on the event loop.

A model that was unloaded to make room (see `room`) stays in the table. A request for it is answered 503 with
Retry-After, and begins to load it again: waiting requests would hold their bodies and their connections for as long as
a load takes, and a client's own deadline would end most of them.
"""

import asyncio
import logging
import math
from collections.abc import Callable
from functools import partial

from mooring_runtime.backends.base import Backend, Load
from mooring_runtime.errors import FatalError, ModelInvalid
from mooring_runtime.metrics import Loaded, MetricsPage
from mooring_runtime.repository.layout import ModelSource
from mooring_runtime.repository.loading import file_bytes, load_backend, options_of
from mooring_runtime.repository.models import Model, Repository, State
from mooring_runtime.repository.room import NoRoomYet, Room
from mooring_runtime.repository.stateful import Stateful
from mooring_runtime.repository.tasks import Tasks, on_thread
from mooring_runtime.settings import ServeSettings

log = logging.getLogger(__name__)

_TRY_AGAIN = 10.0
"""Seconds after a model could not be woken in which nobody tries again: each try costs as much as a load."""


class Versions:
    """Changes the versions in `repository`, one at a time."""

    def __init__(
        self, repository: Repository, settings: ServeSettings, page: MetricsPage, load_format: Callable[[str], Load]
    ) -> None:
        self._repository = repository
        self._settings = settings
        self._page = page
        self._load_format = load_format
        self.room = Room(settings.max_loaded_bytes, self._put_to_sleep, self._one_left)
        self._turns: dict[str, asyncio.Lock] = {}
        self._wakes: dict[tuple[str, str], asyncio.Task[None]] = {}
        self._not_before: dict[tuple[str, str], float] = {}
        self._seconds: dict[tuple[str, str], float] = {}
        self.tasks = Tasks()
        self.leaving: dict[asyncio.Task[None], Model] = {}
        """Models that take no requests any more, and still answer those that they have; by what ends with them."""

    def turn(self, name: str) -> asyncio.Lock:
        """Whoever changes a name's versions holds it."""
        return self._turns.setdefault(name, asyncio.Lock())

    def show(self, name: str, version: str) -> Model:
        """A version that is not loaded yet, its numbers included, put into the table."""
        model = Model(name, self._page.add(name, version), version)
        self._repository.add(model)
        return model

    async def bring(self, name: str, source: ModelSource, *, evict: bool = True) -> None:
        """Load one version and put it in the place of what serves it now, or sleeps.

        Raises FatalError; that then serves, or sleeps, on.
        """
        old = self._repository.entry(name).versions.get(source.version)
        new = Model(name, self._page.add(name, source.version), source.version)
        new.source = source
        serving = old is not None and old.state is State.READY
        if old is not None:
            new.known_as(old)
        if not serving:
            self._repository.add(new)
        try:
            async with self.room.gate:
                await self._load_into(new, source, evict=evict)
        except NoRoomYet:
            new.state = State.UNAVAILABLE
            new.wake = partial(self._wake, new)
            self._repository.add(new)
            return
        except FatalError as error:
            self.failed(new, error)
            if old is not None and old.wake is not None:
                old.reason = str(error)  # It goes on sleeping, and whoever asks for it is told.
                self._repository.add(old)
            raise
        self._repository.add(new)
        if serving and old is not None:
            self._leave(old)

    async def _load_into(self, new: Model, source: ModelSource, *, evict: bool) -> None:
        options = options_of(new.name, source, self._settings)
        work = partial(load_backend, source, options, self._load_format, new.times)
        try:
            await self.room.take(new, await on_thread(partial(file_bytes, source)), evict=evict)
            backend, model_format, seconds = await on_thread(work)
            try:
                await self._take(new, backend)
            except FatalError:
                await on_thread(backend.close)
                raise
        except (FatalError, NoRoomYet):
            self.room.leave(new)
            raise
        except Exception as error:
            # A framework's own failure that no backend has foreseen, or too little memory: the server goes on.
            self.room.leave(new)
            log.exception("model '%s' version %s could not be loaded", new.name, new.version)
            raise ModelInvalid(f"{type(error).__name__}: {error}") from error
        new.serve(backend, source.config)
        key = (new.name, new.version)
        self._seconds[key] = seconds
        self._page.loads.loaded(*key, Loaded(backend.device, model_format, seconds))

    async def _take(self, new: Model, backend: Backend) -> None:
        """Keep for a loaded model what it holds. Raises ModelInvalid when that can never fit.

        States on its device may go back to the host: no model sleeps for them, and none is refused.
        """
        if isinstance(backend, Stateful) and (held := backend.arena) is not None:
            try:
                await self.room.take(new, backend.memory, evict=False)
                return
            except (FatalError, NoRoomYet):
                bound = "with them the loaded models would hold more than MOORING_MAX_LOADED_BYTES"
                await on_thread(partial(held.give_up, bound))
        await self.room.take(new, backend.memory)

    def failed(self, model: Model, error: FatalError) -> None:
        """Tell in the log, the index and the metrics that a model could not be loaded."""
        log.error("model '%s' version %s is not loaded: %s", model.name, model.version, error)
        self._page.loads.failed(model.name)
        model.state = State.UNAVAILABLE
        model.reason = str(error)
        self._repository.refresh(model.name)

    def dismiss(self, model: Model) -> None:
        """A version is served no more."""
        if model.state is not State.READY:
            self._repository.remove(model)
            return
        model.stats.ready = False
        self._page.loads.unloaded(model.name, model.version)
        self._leave(model).add_done_callback(lambda _: self._repository.remove(model))
        self._repository.refresh(model.name)

    def _leave(self, model: Model) -> asyncio.Task[None]:
        """Let a model that takes no more requests answer those that it has, and end."""
        task = self.tasks.spawn(model.retire())
        self.leaving[task] = model

        def left(_: asyncio.Task[None]) -> None:
            del self.leaving[task]
            self.room.leave(model)

        task.add_done_callback(left)
        return task

    # --- sleep

    async def _put_to_sleep(self, model: Model) -> None:
        """Unload a model until somebody asks for it; returns when what it held is free."""
        log.info("model '%s' version %s is unloaded to make room", model.name, model.version)
        asleep = Model(model.name, model.stats, model.version)
        asleep.known_as(model)
        asleep.source = model.source
        asleep.state = State.UNAVAILABLE
        asleep.wake = partial(self._wake, asleep)
        self._repository.add(asleep)
        asleep.stats.ready = False
        self._page.loads.unloaded(model.name, model.version)
        await asyncio.wait([self._leave(model)])

    def _wake(self, model: Model) -> int:
        """Begin to load a model that sleeps; in how many seconds to ask again."""
        key = (model.name, model.version)
        now = asyncio.get_running_loop().time()
        if key not in self._wakes and now >= self._not_before.get(key, 0.0):
            task = self._wakes[key] = self.tasks.spawn(self._wake_up(model))
            task.add_done_callback(lambda _: self._wakes.pop(key))
        return max(1, math.ceil(self._seconds.get(key, 1.0)), math.ceil(self._not_before.get(key, 0.0) - now))

    async def _one_left(self) -> bool:
        """Wait until one of the models that are leaving has left; false when there is none."""
        if not self.leaving:
            return False
        await asyncio.wait(self.leaving, return_when=asyncio.FIRST_COMPLETED)
        return True

    async def _wake_up(self, model: Model) -> None:
        key = (model.name, model.version)
        async with self.turn(model.name):
            entry = self._repository.entry(model.name)
            if entry.versions.get(model.version) is not model or model.source is None:
                return  # A client's load or unload came first.
            try:
                await self.bring(model.name, model.source)
            except FatalError:
                self._not_before[key] = asyncio.get_running_loop().time() + _TRY_AGAIN
