"""The table of what is loaded: models by name, their versions, and the state of each. All of it on the event loop."""

import asyncio
import enum
import time
from collections.abc import Callable, Coroutine, Iterable, Iterator
from itertools import islice
from typing import Any, NamedTuple

from mooring_runtime.backends.base import Backend
from mooring_runtime.errors import ModelAsleep, ModelNotReady, UnknownModel
from mooring_runtime.messages import ModelMetadata
from mooring_runtime.metrics import ModelStats
from mooring_runtime.repository.config import ModelConfig
from mooring_runtime.repository.layout import VERSION, ModelSource
from mooring_runtime.repository.loading import in_thread
from mooring_runtime.repository.stateful import Stateful
from mooring_runtime.scheduling import Batcher, Batching, RunTimes

_TOLD = 10
"""Names in a message; a repository may hold thousands."""


class State(enum.Enum):
    """Where a model is on its way; the names are V2's."""

    LOADING = "loading"
    READY = "ready"
    UNLOADING = "unloading"
    UNAVAILABLE = "unavailable"


class IndexEntry(NamedTuple):
    """A line of the repository's index."""

    name: str
    version: str
    """Empty for a model of which no version is known."""
    state: str
    """Name of a `State`."""
    reason: str
    """Why it is not READY; empty where that explains itself."""


class Model:
    """One version of one model, from one load to its end; a later load makes another."""

    def __init__(self, name: str, stats: ModelStats, version: str = VERSION) -> None:
        self.name = name
        self.version = version
        self.stats = stats
        self.state = State.LOADING
        self.reason = ""
        """Why it is unavailable."""
        self.times = RunTimes()
        self.config = ModelConfig()
        self.source: ModelSource | None = None
        """What it was or will be loaded from."""
        self._memory = 0
        self.device = ""
        self.stateful: Stateful | None = None
        """What runs it, where it has state, and what it does with states; None without, and before it is loaded."""
        self.wake: Callable[[], int] | None = None
        """Set where the model was unloaded to make room: begins to load it; in how many seconds to ask again."""
        self.retired_at: float | None = None
        """When others were to be served in its place, in seconds of the loop's clock; it stays for sessions whose state
        no other version knows, and for those only. None: it is one of those that are to be served."""
        self._since = 0
        self._expected = False
        self._metadata: ModelMetadata | None = None
        self._backend: Backend | None = None
        self._batcher: Batcher | None = None
        self._ending: Batcher | None = None
        """Runs what was accepted, and takes no more."""

    @property
    def memory(self) -> int:
        """Bytes that it holds, or that are kept free for it while it loads. A loaded one may give some back."""
        return self._memory if self._backend is None else self._backend.memory

    @memory.setter
    def memory(self, size: int) -> None:
        self._memory = size

    @property
    def metadata(self) -> ModelMetadata:
        """What the model takes and gives. Raises ModelNotReady before it was loaded for the first time.

        One that sleeps begins to wake when this is asked in vain.
        """
        if self._metadata is None:
            raise self._away()
        return self._metadata

    @property
    def told(self) -> ModelMetadata | None:
        """`metadata` where the model was loaded once; to ask wakes nobody."""
        return self._metadata

    @property
    def batcher(self) -> Batcher:
        """Runs the model. Raises ModelNotReady before it is loaded, and after; one that sleeps begins to wake."""
        if self._batcher is None:
            raise self._away()
        return self._batcher

    @property
    def running(self) -> Batcher | None:
        """`batcher` where the model is loaded; to ask wakes nobody."""
        return self._batcher

    @property
    def known(self) -> bool:
        """Whether it served before, or will when it is asked for: it is not passed over for an older version."""
        return self.wake is not None or self._metadata is not None or self._expected

    @property
    def servable(self) -> bool:
        """Whether it serves, or will when it is asked for."""
        return self.state is State.READY or self.wake is not None

    @property
    def used(self) -> int:
        """Milliseconds since 1970 of the last use, which the load counts for."""
        return max(self.stats.last, self._since)

    @property
    def busy(self) -> float:
        """Seconds that the run on the model's thread has taken so far; 0 when there is none."""
        batcher = self._batcher or self._ending
        return 0.0 if batcher is None else batcher.busy()

    def refusal(self) -> ModelNotReady:
        """Why this model does not serve now. To ask wakes nobody, so that probes of all models do not load them all."""
        if self.wake is not None and not self.reason:
            return ModelNotReady(f"model '{self.name}' was unloaded to make room; a request for it loads it again")
        return ModelNotReady(f"model '{self.name}' is {self.state.value}" + (f": {self.reason}" if self.reason else ""))

    def _away(self) -> ModelNotReady:
        """What a request that needs this model is told; one that sleeps begins to wake."""
        if self.wake is None:
            return self.refusal()
        seconds = self.wake()
        again = f": the last try failed: {self.reason}" if self.reason else ""
        return ModelAsleep(
            f"model '{self.name}' was unloaded to make room for others and is being loaded again{again}", seconds
        )

    def serve(self, backend: Backend, config: ModelConfig | None = None) -> None:
        """From now on requests are run by `backend`, which is loaded and warm."""
        self.config = config or ModelConfig()
        self.memory = backend.memory
        self.device = backend.device
        self._since = time.time_ns() // 1_000_000
        self._metadata = backend.metadata
        self._backend = backend
        self.stateful = backend if isinstance(backend, Stateful) else None
        if self.stateful is not None:
            self.stateful.tell(self.stats)
        batching = Batching(self.config.max_batch, self.config.max_delay, self.config.preferred)
        self._batcher = Batcher(backend, backend.metadata, self.stats, batching=batching, times=self.times)
        self.state = State.READY
        self.stats.ready = True

    def known_as(self, other: "Model") -> None:
        """Tell of this model, which is not loaded, what was known of `other`, an earlier load of it."""
        self._expected = other.known
        self._metadata = other._metadata
        self.config = other.config
        self.device = other.device

    def retire(self) -> Coroutine[Any, Any, None]:
        """Take no more requests from now on; what is returned runs those that wait, then gives back what is held."""
        self.state = State.UNLOADING
        batcher = self._ending = self._batcher
        self._batcher = None
        backend, self._backend = self._backend, None
        return self._end(batcher, backend)

    async def _end(self, batcher: Batcher | None, backend: Backend | None) -> None:
        if batcher is None or backend is None:
            return
        ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        batcher.close(lambda: ended.set_result(None))
        await ended
        self._ending = None
        # A framework may take its time to free gigabytes, and the loop has others to serve.
        await asyncio.wrap_future(in_thread(backend.close))
        self.memory = 0

    def close(self) -> None:
        """The process ends: let the model's thread end, and give back what the model holds if it is at rest."""
        if self._batcher is not None and self._backend is not None:
            self._batcher.close(self._backend.close)


class Entry:
    """A name and its versions."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.versions: dict[str, Model] = {}
        """Rising."""
        self.default: Model | None = None
        """Who answers when a request names no version."""
        self.reason = "not loaded"
        """Why there is no version."""
        self.awaited = True
        """The server is not ready before this model is."""
        self.last: Model | None = None
        """Stands for the version that was taken out last, if it keeps state: it runs nothing, but what it has answered
        may be asked for again. None where there are versions, or never were any."""

    def refresh(self) -> None:
        """Look again who answers: the highest version that can, or could after it is woken, else the highest."""
        self.versions = dict(sorted(self.versions.items(), key=lambda item: int(item[0])))
        models = list(self.versions.values())
        wanted = [model for model in models if model.retired_at is None] or models
        able = [model for model in wanted if model.state is State.READY or model.known]
        self.default = able[-1] if able else wanted[-1] if wanted else None

    def unfit(self) -> str | None:
        """The sentence that says why not all versions can be asked; None when they can."""
        for model in self.versions.values():
            if not model.servable:
                return f"model '{model.name}' is {model.state.value}" + (f": {model.reason}" if model.reason else "")
        return None if self.versions else f"model '{self.name}' is unavailable: {self.reason}"


class Repository:
    """The models of this process by name."""

    def __init__(self) -> None:
        self._entries: dict[str, Entry] = {}
        self.starting: str | None = None
        """Why the server is not ready although no model says so: it does not know its models yet."""

    def add(self, model: Model) -> None:
        """Put a model under its name and version, in place of another; it may still be loading."""
        entry = self.entry(model.name)
        entry.versions[model.version] = model
        entry.refresh()

    def remove(self, model: Model) -> None:
        """Take a version out of the table, unless another load of it stands there."""
        entry = self._entries.get(model.name)
        if entry is not None and entry.versions.get(model.version) is model:
            del entry.versions[model.version]
            if model.told is not None and model.told.state is not None:
                # Not the model itself, which would keep what it has loaded in memory.
                entry.last = Model(model.name, model.stats, model.version)
                entry.last.known_as(model)
                entry.last.state, entry.last.reason = State.UNAVAILABLE, entry.reason
            entry.refresh()

    def entry(self, name: str) -> Entry:
        """The versions of a name; a name that is not known becomes known."""
        return self._entries.setdefault(name, Entry(name))

    def get(self, name: str) -> Entry | None:
        """The versions of a name, if it is known."""
        return self._entries.get(name)

    def refresh(self, name: str) -> None:
        """The state of a version of this name has changed."""
        if name in self._entries:
            self._entries[name].refresh()

    def __iter__(self) -> Iterator[Entry]:
        return iter(list(self._entries.values()))

    def names(self) -> list[str]:
        """Every model's name."""
        return list(self._entries)

    def not_ready(self) -> str | None:
        """The sentence that says what is awaited and not there; None when nothing is."""
        if self.starting is not None:
            return self.starting
        for entry in self._entries.values():
            if entry.awaited and (reason := entry.unfit()) is not None:
                return reason
        return None

    def find(self, name: str, version: str | None) -> Model:
        """The model of that name; `version` None means the highest that is loaded.

        Raises UnknownModel, and ModelNotReady where a name has no version yet.
        """
        entry = self._entries.get(name)
        if entry is None:
            raise UnknownModel(f"unknown model '{name}'; this server has {_some(map(repr, self._entries))}")
        model = entry.default if version is None else entry.versions.get(version)
        if model is not None:
            return model
        if entry.versions:
            raise UnknownModel(f"model '{name}' has no version {version}; it has {_some(entry.versions)}")
        raise ModelNotReady(f"model '{name}' is unavailable: {entry.reason}")

    def asked(self, name: str, version: str | None) -> Model:
        """`find` for who asks for what a model answers: `Entry.last` is found too, where there is no version."""
        entry = self._entries.get(name)
        if entry is not None:
            model = entry.default if version is None else entry.versions.get(version)
            if model is not None:
                return model
            last = entry.last
            if last is not None and not entry.versions and version in (None, last.version):
                return last
        return self.find(name, version)

    def index(self) -> list[IndexEntry]:
        """Every version of every name, with its state."""
        found = []
        for entry in self._entries.values():
            for model in entry.versions.values():
                asleep = model.wake is not None and not model.reason
                reason = "unloaded to make room, loaded when asked for" if asleep else model.reason
                found.append(IndexEntry(entry.name, model.version, model.state.name, reason))
            if not entry.versions:
                found.append(IndexEntry(entry.name, "", State.UNAVAILABLE.name, entry.reason))
        return found


def _some(names: Iterable[str]) -> str:
    shown = list(islice(names, _TOLD + 1))
    return (", ".join(shown[:_TOLD]) or "none") + (", ..." if len(shown) > _TOLD else "")
