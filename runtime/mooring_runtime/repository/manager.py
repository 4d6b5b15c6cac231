"""Loads, reloads and unloads models while the server serves; every method is called on the event loop.

- A reload warms the new model beside the old one, which serves until then; then the new one takes its place in the
  table, and the old one runs what it has accepted before it is closed. So no request is dropped.
- Loads of one name happen one after the other; a load that asks for the same as one that waits joins it.
- A model that was unloaded to make room (see `room`) stays in the table. A request for it is answered 503 with
  Retry-After, which begins to load it again: waiting requests would hold their bodies and their connections for as long
  as a load takes, and a client's own deadline would end most of them.
"""

import asyncio
import logging
import math
from collections.abc import Callable, Coroutine, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from mooring_runtime.backends.base import Load, loader
from mooring_runtime.errors import (
    ControlDisabled,
    FatalError,
    LoadFailed,
    ModelInvalid,
    NotInRepository,
    UnknownModel,
)
from mooring_runtime.metrics import Loaded, MetricsPage
from mooring_runtime.repository import overrides
from mooring_runtime.repository.layout import ModelSource, Stock, is_name, read_versions, wanted
from mooring_runtime.repository.loading import file_bytes, in_thread, load_backend, options_of
from mooring_runtime.repository.models import Model, Repository, State
from mooring_runtime.repository.room import NoRoomYet, Room
from mooring_runtime.settings import ServeSettings
from mooring_runtime.settings.kinds import model_name

log = logging.getLogger(__name__)

Result = TypeVar("Result")

_TRY_AGAIN = 10.0
"""Seconds after a model could not be woken in which nobody tries again: each try costs as much as a load."""


class Manager:
    """The models of one server: what `stock` has, loaded into `repository` as `settings` say."""

    def __init__(
        self,
        repository: Repository,
        stock: Stock,
        settings: ServeSettings,
        page: MetricsPage,
        load_format: Callable[[str], Load] = loader,
    ) -> None:
        self._repository = repository
        self._stock = stock
        self._settings = settings
        self._page = page
        self._load_format = load_format
        self._room = Room(settings.max_loaded_bytes, self._put_to_sleep, self._one_left)
        self._turns: dict[str, asyncio.Lock] = {}
        self._loads: dict[str, asyncio.Task[None]] = {}
        """Loads that have not looked at the disk yet; who asks for the same joins."""
        self._wakes: dict[tuple[str, str], asyncio.Task[None]] = {}
        self._not_before: dict[tuple[str, str], float] = {}
        self._seconds: dict[tuple[str, str], float] = {}
        self._leaving: dict[asyncio.Task[None], Model] = {}
        self._overrides: dict[str, Path] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        repository.starting = "the models are being looked for"

    # --- start and end

    def expect(self, name: str, version: str) -> None:
        """Show a model, its numbers included, before its files are looked at."""
        self._repository.add(Model(name, self._page.add(name, version), version))
        self._repository.starting = None

    async def start(self) -> None:
        """Load what the settings name. Raises the FatalError that says why, when none of it can be served."""
        chosen, others = await _on_thread(partial(wanted, self._stock, self._settings))
        for name in others:
            self._repository.entry(name).awaited = False
        plans = [(name, await self._plan(name)) for name in chosen]
        self._repository.starting = None
        work = [self._first(name, plan) for name, plan in plans]
        failures = [error for error in await asyncio.gather(*work) if error is not None]
        if failures and len(failures) == len(chosen):
            first = failures[0]
            raise first if len(failures) == 1 else type(first)("; ".join(map(str, failures)))

    async def _plan(self, name: str) -> list[ModelSource] | FatalError:
        """The versions of a name that are to be loaded, which from now on are seen to be loading."""
        entry = self._repository.entry(name)
        try:
            sources = await self._read(partial(self._stock.read, name))
        except FatalError as error:
            entry.reason = str(error)
            for model in entry.versions.values():
                self._failed(model, error)
            return error
        for source in sources:
            if source.version not in entry.versions:
                self._repository.add(Model(name, self._page.add(name, source.version), source.version))
        return sources

    async def _first(self, name: str, plan: list[ModelSource] | FatalError) -> FatalError | None:
        """Load the versions of a name at the start; the first failure."""
        failure = plan if isinstance(plan, FatalError) else None
        for source in [] if isinstance(plan, FatalError) else plan:
            try:
                await self._bring(name, source, evict=False)
            except FatalError as error:
                failure = failure or error
        if failure is None or not self._settings.strict_readiness:
            self._repository.entry(name).awaited = False
        return failure

    def close(self) -> None:
        """The process ends: no model takes requests any more."""
        for task in self._tasks:
            task.cancel()
        for entry in self._repository:
            for model in entry.versions.values():
                model.close()
        for directory in self._overrides.values():
            overrides.remove(directory)

    @property
    def leaving(self) -> int:
        """Models that take no requests any more, and still answer those that they have."""
        return len(self._leaving)

    def busy(self) -> Iterator[tuple[str, float]]:
        """(model, seconds that its present run has taken), of every model that has a run on its thread."""
        serving = [model for entry in self._repository for model in entry.versions.values()]
        for model in {*serving, *self._leaving.values()}:
            if seconds := model.busy:
                yield model.name, seconds

    # --- what clients may ask for

    async def load(self, name: str, said: str | None = None, files: Mapping[str, bytes] | None = None) -> None:
        """Load a model, or load it again when its files or `said`, Triton's configuration in JSON, have changed.

        `files` come in place of those on disk, named `file:VERSION/NAME`, and need `said`.
        Raises ControlDisabled, NotInRepository, and LoadFailed with the reason; what served before then serves on.
        """
        self._allow(name)
        if said is not None or files:
            await asyncio.shield(self._spawn(self._load(name, said, files)))
            return
        task = self._loads.get(name)
        if task is None:
            task = self._loads[name] = self._spawn(self._load(name, None, None))
        # Whoever joins may hang up; the load goes on.
        await asyncio.shield(task)

    async def unload(self, name: str) -> None:
        """Take no more requests for a model; those that it has accepted are answered, after this has returned.

        Raises ControlDisabled, UnknownModel.
        """
        self._allow(name)
        async with self._turn(name):
            entry = self._repository.get(name)
            if entry is None:
                raise UnknownModel(f"unknown model '{name}': it cannot be unloaded")
            entry.awaited = False
            entry.reason = "unloaded"
            for model in list(entry.versions.values()):
                self._dismiss(model)
            self._drop_override(name)

    def _allow(self, name: str) -> None:
        if self._settings.model_control != "explicit":
            raise ControlDisabled(
                f"model '{name}' cannot be loaded or unloaded by a request: the server has MOORING_MODEL_CONTROL=none; "
                "set it to explicit"
            )

    async def _load(self, name: str, said: str | None, files: Mapping[str, bytes] | None) -> None:
        async with self._turn(name):
            if said is None:
                self._loads.pop(name, None)  # What changes on disk from now on is for the next load.
            directory = None
            if files:
                directory = await self._override(name, said, files)
                read: Callable[[], list[ModelSource]] = partial(read_versions, directory, name, said)
            else:
                if not await _on_thread(partial(self._stock.has, name)):
                    raise NotInRepository(
                        f"failed to load '{name}': this server's repository has no model of that name"
                    )
                read = partial(self._stock.read, name, said)
            try:
                await self._replace(name, await self._read(read))
            except FatalError as error:
                if directory is not None:
                    await _on_thread(partial(overrides.remove, directory))
                raise LoadFailed(f"failed to load '{name}': {error}") from error
            self._drop_override(name)
            if directory is not None:
                self._overrides[name] = directory

    async def _override(self, name: str, said: str | None, files: Mapping[str, bytes]) -> Path:
        if said is None:
            raise LoadFailed(f"failed to load '{name}': files need the parameter config beside them")
        if not is_name(name):
            raise LoadFailed(f"failed to load '{name}': a model's name must be {model_name().allowed}")
        if self._settings.model_sha256 is not None:
            raise LoadFailed(
                f"failed to load '{name}': MOORING_MODEL_SHA256 says which file this server may serve; send no files"
            )
        return await _on_thread(partial(overrides.write, name, files))

    def _drop_override(self, name: str) -> None:
        """Delete the files of an earlier load when nothing that came from them runs any more."""
        directory = self._overrides.pop(name, None)
        if directory is not None:
            self._spawn(self._delete(directory, [task for task, model in self._leaving.items() if model.name == name]))

    async def _delete(self, directory: Path, after: list[asyncio.Task[None]]) -> None:
        if after:
            await asyncio.wait(after)
        await _on_thread(partial(overrides.remove, directory))

    async def _replace(self, name: str, sources: list[ModelSource]) -> None:
        """Serve these versions of a name and no others. Raises FatalError when one cannot be; the others then stay."""
        if self._repository.get(name) is None:
            self._repository.entry(name).awaited = False
        entry = self._repository.entry(name)
        failures = []
        for source in sources:
            if _unchanged(entry.versions.get(source.version), source):
                continue
            try:
                await self._bring(name, source)
            except FatalError as error:
                failures.append(error)
        if failures:
            raise type(failures[0])("; ".join(map(str, failures)))
        entry.awaited = False
        kept = {source.version for source in sources}
        for model in [each for version, each in entry.versions.items() if version not in kept]:
            self._dismiss(model)

    # --- one version

    async def _bring(self, name: str, source: ModelSource, *, evict: bool = True) -> None:
        """Load one version and put it in the place of what serves it now. Raises FatalError; that then serves on."""
        old = self._repository.entry(name).versions.get(source.version)
        new = Model(name, self._page.add(name, source.version), source.version)
        new.source = source
        serving = old is not None and old.state is State.READY
        if old is not None:
            new.known_as(old)
        if not serving:
            self._repository.add(new)
        try:
            async with self._room.gate:
                await self._load_into(new, source, evict=evict)
        except NoRoomYet:
            new.state = State.UNAVAILABLE
            new.wake = partial(self._wake, new)
            self._repository.add(new)
            return
        except FatalError as error:
            self._failed(new, error)
            raise
        self._repository.add(new)
        if serving and old is not None:
            self._leave(old)

    async def _load_into(self, new: Model, source: ModelSource, *, evict: bool) -> None:
        options = options_of(new.name, source, self._settings)
        work = partial(load_backend, source, options, self._load_format, new.times)
        try:
            await self._room.take(new, await _on_thread(partial(file_bytes, source)), evict=evict)
            backend, model_format, seconds = await _on_thread(work)
            try:
                await self._room.take(new, backend.memory)
            except FatalError:
                await _on_thread(backend.close)
                raise
        except FatalError:
            self._room.leave(new)
            raise
        except Exception as error:
            # A framework's own failure that no backend has foreseen, or too little memory: the server goes on.
            self._room.leave(new)
            log.exception("model '%s' version %s could not be loaded", new.name, new.version)
            raise ModelInvalid(f"{type(error).__name__}: {error}") from error
        new.serve(backend, source.config)
        key = (new.name, new.version)
        self._seconds[key] = seconds
        self._page.loads.loaded(*key, Loaded(backend.device, model_format, seconds))

    def _failed(self, model: Model, error: FatalError) -> None:
        log.error("model '%s' version %s is not loaded: %s", model.name, model.version, error)
        self._page.loads.failed(model.name)
        model.state = State.UNAVAILABLE
        model.reason = str(error)
        self._repository.refresh(model.name)

    def _dismiss(self, model: Model) -> None:
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
        task = self._spawn(model.retire())
        self._leaving[task] = model

        def left(_: asyncio.Task[None]) -> None:
            del self._leaving[task]
            self._room.leave(model)

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
            task = self._wakes[key] = self._spawn(self._wake_up(model))
            task.add_done_callback(lambda _: self._wakes.pop(key))
        return max(1, math.ceil(self._seconds.get(key, 1.0)), math.ceil(self._not_before.get(key, 0.0) - now))

    async def _one_left(self) -> bool:
        """Wait until one of the models that are leaving has left; false when there is none."""
        if not self._leaving:
            return False
        await asyncio.wait(self._leaving, return_when=asyncio.FIRST_COMPLETED)
        return True

    async def _wake_up(self, model: Model) -> None:
        key = (model.name, model.version)
        async with self._turn(model.name):
            entry = self._repository.entry(model.name)
            if entry.versions.get(model.version) is not model or model.source is None:
                return  # A client's load or unload came first.
            try:
                await self._bring(model.name, model.source)
            except FatalError:
                self._not_before[key] = asyncio.get_running_loop().time() + _TRY_AGAIN
                failed = entry.versions[model.version]
                failed.wake = partial(self._wake, failed)

    # --- tools

    def _turn(self, name: str) -> asyncio.Lock:
        return self._turns.setdefault(name, asyncio.Lock())

    async def _read(self, read: Callable[[], list[ModelSource]]) -> list[ModelSource]:
        """The sources, with what the settings say in place of what the model says."""
        return [source.under(self._settings) for source in await _on_thread(read)]

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """A task that is kept until it ends, and whose failure somebody else may have been told."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            task.exception()


def _unchanged(now: Model | None, source: ModelSource) -> bool:
    """Whether the model serves already what the source would give."""
    if now is None or now.state is not State.READY or now.source is None or source.stamp is None:
        return False
    return source.stamp == now.source.stamp


async def _on_thread(work: Callable[[], Result]) -> Result:
    return await asyncio.wrap_future(in_thread(work))
