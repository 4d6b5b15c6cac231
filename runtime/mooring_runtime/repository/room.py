"""Keeps the loaded models within MOORING_MAX_LOADED_BYTES: whoever was not used for longest makes room.

A model that has requests makes room only where none is without: it keeps what it holds until it has answered them.

What counts is what each backend tells of its weights, and for a model that is being loaded the size of its files. While
there is a bound, models are loaded one after the other: two that wait for each other's room would wait for ever.
"""

import asyncio
from collections.abc import Awaitable, Callable

from mooring_runtime.errors import FatalError, ModelInvalid
from mooring_runtime.repository.models import Model, State

_AT_ONCE = 4
"""Loads at once without a bound: they share the disk and the cores with each other and with the runs."""


class NoRoomYet(Exception):  # noqa: N818 - named by what happened, as in errors; nobody outside is told
    """The model fits, but not beside the others, and none of them may be unloaded for it."""


class Room:
    """What the loaded models hold."""

    def __init__(
        self,
        bound: int | None,
        evict: Callable[[Model], Awaitable[None]],
        one_left: Callable[[], Awaitable[bool]],
    ) -> None:
        """`evict` unloads a model and returns when what it held is free. `one_left` waits for one of those that are
        about to give back what they hold, and is false when there is none.
        """
        self._bound = bound
        self._evict = evict
        self._one_left = one_left
        self._holding: set[Model] = set()
        self.gate = asyncio.Semaphore(_AT_ONCE if bound is None else 1)
        """Whoever loads a model holds it meanwhile."""

    @property
    def held(self) -> int:
        """Bytes of the models that are loaded, are being loaded, or have not yet given back what they hold."""
        return sum(model.memory for model in self._holding)

    async def take(self, model: Model, size: int, *, evict: bool = True) -> None:
        """Keep `size` bytes for the model, in place of what was kept for it before.

        Raises ModelInvalid when it can never fit, NoRoomYet when `evict` is false and others are in the way; nothing is
        kept for it then.
        """
        model.memory = size
        self._holding.add(model)
        if self._bound is None:
            return
        try:
            await self._fit(model, self._bound, evict=evict)
        except (FatalError, NoRoomYet):
            self.leave(model)
            raise

    async def _fit(self, model: Model, bound: int, *, evict: bool) -> None:
        if model.memory > bound:
            raise ModelInvalid(
                f"model '{model.name}' version {model.version} takes {model.memory} bytes, and "
                f"MOORING_MAX_LOADED_BYTES is {bound}: raise it above that"
            )
        while self.held > bound:
            if not evict:
                raise NoRoomYet
            if not await self._one_left():
                await self._evict(self._victim(model, bound))

    def _victim(self, model: Model, bound: int) -> Model:
        this = (model.name, model.version)
        others = [each for each in self._holding if each.state is State.READY and (each.name, each.version) != this]
        if not others:
            raise ModelInvalid(
                f"model '{model.name}' version {model.version} takes {model.memory} bytes, {self.held - model.memory} "
                f"cannot be freed while it loads, and MOORING_MAX_LOADED_BYTES is {bound}: unload it first"
            )
        # A model in use, last: `used` counts ended runs only, and a long one would keep the room, and who waits for it.
        return min(others, key=lambda each: (any(each.stats.load()), each.used))

    def leave(self, model: Model) -> None:
        """The model holds nothing any more."""
        model.memory = 0
        self._holding.discard(model)
