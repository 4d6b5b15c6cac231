"""kopf as an informer: its settings, its login, and nothing that it could store."""

from collections.abc import Iterable
from typing import Any

import kopf

from ..cluster.cache import selector_of
from ..cluster.connection import Connection
from ..cluster.echoes import Echoes
from ..cluster.kinds import Kind
from ..cluster.kube import PAGE


class _NoProgress(kopf.ProgressStorage):
    """Keeps nothing: there are no handlers with progress, and nothing may be written to users' objects."""

    def fetch(self, **_: Any) -> None:
        return None

    def store(self, **_: Any) -> None: ...

    def purge(self, **_: Any) -> None: ...

    def touch(self, **_: Any) -> None: ...

    def clear(self, *, essence: Any) -> Any:
        return essence


class _NoDiffBase(kopf.DiffBaseStorage):
    """Keeps nothing, and compares nothing: the usual one copies the whole object twice for each event."""

    def build(self, **_: Any) -> Any:
        return {}

    def fetch(self, **_: Any) -> None:
        return None

    def store(self, **_: Any) -> None: ...


def kopf_settings(watched: Iterable[Kind]) -> kopf.OperatorSettings:
    """Return the settings: watch these kinds by our label, write nothing, outlive an API server that is away."""
    settings = kopf.OperatorSettings()
    settings.persistence.progress_storage = _NoProgress()
    settings.persistence.diffbase_storage = _NoDiffBase()
    settings.posting.enabled = False
    settings.scanning.disabled = True  # no rights on namespaces and CRDs are needed
    settings.peering.standalone = True
    settings.watching.chunk_size = PAGE
    for kind in watched:
        if selector := selector_of(kind):
            settings.watching.label_selectors[kind.group, kind.version, kind.plural] = selector
    # The default steps grow to 21 s, which is how late a change is seen after an outage. Short steps, but many: when
    # they are used up, a 403 or a 5xx ends the operator.
    settings.networking.error_backoffs = (0.5, 1, *(2,) * 600)
    settings.networking.connect_timeout = 5
    settings.queueing.idle_timeout = 1.0  # each idle object costs a task
    settings.queueing.exit_timeout = 0.5
    settings.process.ultimate_exiting_timeout = None  # the process has its own
    return settings


def register_login(registry: kopf.OperatorRegistry, connection: Connection, echoes: Echoes) -> None:
    """Let kopf's watches use the same credentials as our own client, and leave out what our own writes caused."""

    @kopf.on.login(registry=registry)
    async def login(**_: Any) -> kopf.AiohttpSession:
        await connection.reload()  # kopf asks again when a token was refused
        return kopf.AiohttpSession(server=connection.server, aiohttp_session=connection.session(echoes.drop))
