"""Loads, reloads and unloads models while the server serves; every method is called on the event loop.

- A reload warms the new model beside the old one, which serves until then; then the new one takes its place in the
  table, and the old one runs what it has accepted before it is closed. So no request is dropped.
- Loads of one name happen one after the other; a load that asks for the same as one that waits joins it.
"""

import asyncio
import json
import logging
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path

from mooring_runtime.backends.base import Load, loader
from mooring_runtime.errors import ControlDisabled, FatalError, LoadFailed, NotInRepository, UnknownModel
from mooring_runtime.metrics import MetricsPage
from mooring_runtime.repository import overrides
from mooring_runtime.repository.layout import ModelSource, Stock, is_name, read_versions, wanted
from mooring_runtime.repository.models import Model, Repository, State
from mooring_runtime.repository.tasks import on_thread
from mooring_runtime.repository.versions import Versions
from mooring_runtime.settings import ServeSettings
from mooring_runtime.settings.kinds import model_name

log = logging.getLogger(__name__)


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
        self.repository = repository
        self._stock = stock
        self._settings = settings
        self._versions = Versions(repository, settings, page, load_format)
        self._loads: dict[str, asyncio.Task[None]] = {}
        """Loads that have not looked at the disk yet; who asks for the same joins."""
        self._overrides: dict[str, set[Path]] = {}
        """Directories of files that clients have sent, by model."""
        self.needed: Callable[[Model], bool] = lambda _: False
        """Whether sessions need a version that is not to be served any more; set where there are sessions."""
        repository.starting = "the models are being looked for"

    # --- start and end

    def expect(self, name: str, version: str) -> None:
        """Show a model, its numbers included, before its files are looked at."""
        self._versions.show(name, version)
        self.repository.starting = None

    async def start(self) -> None:
        """Load what the settings name. Raises the FatalError that says why, when no version of any can be served."""
        chosen, others = await on_thread(partial(wanted, self._stock, self._settings))
        for name in others:
            self.repository.entry(name).awaited = False
        plans = [(name, await self._plan(name)) for name in chosen]
        self.repository.starting = None
        work = [self._first(name, plan) for name, plan in plans]
        failures = [error for error in await asyncio.gather(*work) if error is not None]
        if len(failures) == len(chosen) and failures and not any(map(self._serves, chosen)):
            first = failures[0]
            raise first if len(failures) == 1 else type(first)("; ".join(map(str, failures)))

    async def _plan(self, name: str) -> list[ModelSource] | FatalError:
        """The versions of a name that are to be loaded, which from now on are seen to be loading."""
        entry = self.repository.entry(name)
        try:
            sources = await self._read(partial(self._stock.read, name))
        except FatalError as error:
            entry.reason = str(error)
            for model in entry.versions.values():
                self._versions.failed(model, error)
            return error
        for source in sources:
            if source.version not in entry.versions:
                self._versions.show(name, source.version)
        return sources

    async def _first(self, name: str, plan: list[ModelSource] | FatalError) -> FatalError | None:
        """Load the versions of a name at the start; the first failure."""
        failure = plan if isinstance(plan, FatalError) else None
        entry = self.repository.entry(name)
        async with self._versions.turn(name):
            for source in [] if isinstance(plan, FatalError) else plan:
                now = entry.versions.get(source.version)
                if now is None or now.servable:
                    continue  # A client's load or unload came first.
                try:
                    await self._versions.bring(name, source, evict=False)
                except FatalError as error:
                    failure = failure or error
            if failure is None or not self._settings.strict_readiness:
                entry.awaited = False
        return failure

    def _serves(self, name: str) -> bool:
        """Whether any version of a name serves, or will when it is asked for."""
        return any(model.servable for model in self.repository.entry(name).versions.values())

    def close(self) -> None:
        """The process ends: no model takes requests any more."""
        self._versions.tasks.close()
        for entry in self.repository:
            for model in entry.versions.values():
                model.close()
        for directory in [each for sent in self._overrides.values() for each in sent]:
            overrides.remove(directory)

    @property
    def leaving(self) -> int:
        """Models that take no requests any more, and still answer those that they have."""
        return len(self._versions.leaving)

    @property
    def held(self) -> int:
        """Bytes that the models hold, those that are being loaded or are leaving included."""
        return self._versions.room.held

    def busy(self) -> Iterator[tuple[str, float]]:
        """(model, seconds that its present run has taken), of every model that has a run on its thread."""
        serving = [model for entry in self.repository for model in entry.versions.values()]
        for model in {*serving, *self._versions.leaving.values()}:
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
            await asyncio.shield(self._versions.tasks.spawn(self._load(name, said, files)))
            return
        task = self._loads.get(name)
        if task is None:
            task = self._loads[name] = self._versions.tasks.spawn(self._load(name, None, None))
        # Whoever joins may hang up; the load goes on.
        await asyncio.shield(task)

    async def unload(self, name: str) -> None:
        """Take no more requests for a model; those that it has accepted are answered, after this has returned.

        Raises ControlDisabled, UnknownModel.
        """
        self._allow(name)
        async with self._versions.turn(name):
            entry = self.repository.get(name)
            if entry is None:
                raise UnknownModel(f"unknown model '{name}': it cannot be unloaded")
            entry.awaited = False
            entry.reason = "unloaded"
            for model in list(entry.versions.values()):
                self._versions.dismiss(model)
            self._sweep(name)

    def _allow(self, name: str) -> None:
        if self._settings.model_control != "explicit":
            raise ControlDisabled(
                f"model '{name}' cannot be loaded or unloaded by a request: the server has MOORING_MODEL_CONTROL=none; "
                "set it to explicit"
            )

    async def _load(self, name: str, said: str | None, files: Mapping[str, bytes] | None) -> None:
        async with self._versions.turn(name):
            if said is None:
                self._loads.pop(name, None)  # What changes on disk from now on is for the next load.
            if files:
                directory = await self._override(name, said, files)
                read: Callable[[], list[ModelSource]] = partial(read_versions, directory, name, said)
            else:
                if not await on_thread(partial(self._stock.has, name)):
                    raise NotInRepository(
                        f"failed to load '{name}': this server's repository has no model of that name"
                    )
                read = partial(self._stock.read, name, said)
            try:
                await self._replace(name, await self._read(read))
            except FatalError as error:
                raise LoadFailed(f"failed to load '{name}': {error}") from error
            finally:
                self._sweep(name)

    async def _override(self, name: str, said: str | None, files: Mapping[str, bytes]) -> Path:
        if said is None:
            raise LoadFailed(f"failed to load '{name}': files need the parameter config beside them")
        if not is_name(name):
            raise LoadFailed(f"failed to load '{name}': a model's name must be {model_name().allowed}")
        if self._settings.model_sha256 is not None:
            raise LoadFailed(
                f"failed to load '{name}': MOORING_MODEL_SHA256 says which file this server may serve; send no files"
            )
        directory = await on_thread(partial(overrides.write, name, files))
        self._overrides.setdefault(name, set()).add(directory)
        return directory

    def _sweep(self, name: str) -> None:
        """Delete files that clients have sent and that no version needs any more, not even to be woken."""
        entry = self.repository.get(name)
        models = [] if entry is None else list(entry.versions.values())
        needed = [model.source.path for model in models if model.source is not None and model.servable]
        for directory in list(self._overrides.get(name, ())):
            if not any(path.is_relative_to(directory) for path in needed):
                after = [task for task, model in self._versions.leaving.items() if model.name == name]
                self._versions.tasks.spawn(self._delete(name, directory, after))

    async def _delete(self, name: str, directory: Path, after: list[asyncio.Task[None]]) -> None:
        if after:
            await asyncio.wait(after)
        await on_thread(partial(overrides.remove, directory))
        self._overrides[name].discard(directory)

    async def _replace(self, name: str, sources: list[ModelSource]) -> None:
        """Serve these versions of a name and no others. Raises FatalError when one cannot be; the others then stay."""
        if self.repository.get(name) is None:
            self.repository.entry(name).awaited = False
        entry = self.repository.entry(name)
        failures = []
        fresh = []
        for source in sources:
            now = entry.versions.get(source.version)
            if _unchanged(now, source):
                continue
            try:
                await self._versions.bring(name, source)
            except FatalError as error:
                failures.append(error)
            else:
                fresh += [source.version] if now is None else []
        if failures:
            for version in fresh:  # Else half of a load that has failed would answer.
                self._versions.dismiss(entry.versions[version])
            raise type(failures[0])("; ".join(map(str, failures)))
        entry.awaited = False
        kept = {source.version for source in sources}
        gone = [each for version, each in entry.versions.items() if version not in kept]
        moment = asyncio.get_running_loop().time()
        for version, model in entry.versions.items():
            model.retired_at = None if version in kept else model.retired_at or moment
        self.repository.refresh(name)
        for model in gone:
            if model.state is State.READY and self.needed(model):
                log.info("model '%s' version %s stays for the sessions that need it", name, model.version)
            else:
                self._versions.dismiss(model)

    async def bring_back(self, name: str, version: str) -> None:
        """Load a version that is not to be served, for sessions that need it; where that cannot be, the log says why,
        and they are refused.
        """
        policy = {"version_policy": {"specific": {"versions": [int(version)]}}}
        async with self._versions.turn(name):
            if version in self.repository.entry(name).versions:
                return
            try:
                [source] = await self._read(partial(self._stock.read, name, json.dumps(policy)))
                await self._versions.bring(name, source)
            except FatalError as error:
                log.warning("sessions of model '%s' need its version %s: %s", name, version, error)
                return
            model = self.repository.entry(name).versions[version]
            model.retired_at = asyncio.get_running_loop().time()
            self.repository.refresh(name)

    def release(self) -> None:
        """Dismiss the versions that were kept for sessions and that none needs any more; to be called now and then."""
        deadline, now = self._settings.version_deadline, asyncio.get_running_loop().time()
        for entry in self.repository:
            for model in list(entry.versions.values()):
                if model.retired_at is None or model.state is not State.READY:
                    continue
                needed = self.needed(model)
                if needed and not (deadline and now > model.retired_at + deadline):
                    continue
                log.info(
                    "model '%s' version %s has %s, and is unloaded",
                    model.name,
                    model.version,
                    "sessions that can go on with no other version, but its time is up"
                    if needed
                    else "no sessions left",
                )
                self._versions.dismiss(model)

    # --- tools

    async def _read(self, read: Callable[[], list[ModelSource]]) -> list[ModelSource]:
        """The sources, with what the settings say in place of what the model says."""
        return [source.under(self._settings) for source in await on_thread(read)]


def _unchanged(now: Model | None, source: ModelSource) -> bool:
    """Whether the model serves already what the source would give."""
    if now is None or now.state is not State.READY or now.source is None or source.stamp is None:
        return False
    return source.stamp == now.source.stamp
