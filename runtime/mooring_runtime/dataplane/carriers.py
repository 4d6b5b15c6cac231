"""Which version of a model goes on with a session.

The one that a request without a version gets goes on where it can: the schema of the state is its own, or it came with
a converter for it. Else the session stays with a version whose schema it is, for as long as the server has one; it is
pinned. A request that names a version gets that one or is refused.
"""

from collections.abc import Iterable
from typing import NamedTuple

from mooring_runtime.errors.sessions import SessionUnavailable
from mooring_runtime.messages import StateSchema
from mooring_runtime.repository import Model, Repository
from mooring_runtime.repository.converter import StateConverter
from mooring_runtime.sessions.copies import Copy


class Carrier(NamedTuple):
    """The version that runs a step."""

    model: Model
    converter: StateConverter | None
    """Makes the state into one of this version's first."""


def carrier(repository: Repository, name: str, version: str | None, copy: Copy | None) -> Carrier:
    """Who runs the next step of a session; `copy` is None where its state is to be the first one of the model.

    Raises UnknownModel, ModelNotReady, SessionUnavailable `version-missing`.
    """
    model = repository.find(name, version)
    if copy is None or not copy.fingerprint:
        return Carrier(model, None)
    schema = schema_of(model)
    if schema is None or schema.fingerprint == copy.fingerprint:
        return Carrier(model, None)  # Without a schema it is not loaded, and says so when it is to run.
    if model.stateful is not None:
        converter = model.stateful.converter
        if converter is not None and converter.takes(copy.fingerprint, copy.version):
            return Carrier(model, converter)
    pinned = pinned_to(repository, name, copy)
    if version is None and pinned is not None:
        return Carrier(pinned, None)
    others = "this server has no version that can"
    if pinned is not None:
        others = f"the request names that version: if it named none, version {pinned.version} would go on"
    raise SessionUnavailable(
        f"the state of this session was made by version {copy.version} of model '{name}' with another schema; "
        f"version {model.version} can neither go on from it nor convert it, and {others}",
        "version-missing",
    )


def pinned_to(repository: Repository, name: str, copy: Copy) -> Model | None:
    """The version whose schema a state has: the one that made it, else the highest."""
    entry = repository.get(name)
    if entry is None:
        return None
    able = [model for model in entry.versions.values() if fits(model, copy.fingerprint)]
    return next((model for model in able if model.version == copy.version), able[-1] if able else None)


def fits(model: Model, fingerprint: str) -> bool:
    """Whether a version goes on from states of this schema as they are."""
    schema = schema_of(model)
    return schema is not None and schema.fingerprint == fingerprint


def schema_of(model: Model) -> StateSchema | None:
    """What a version keeps between steps; None where it keeps nothing, or was never loaded."""
    return None if model.told is None else model.told.state


def needed(repository: Repository, model: Model, schemas: Iterable[tuple[str, str, str]]) -> bool:
    """Whether sessions can go on with a version that is not to be served any more, and with none of the others.

    `schemas`: of the sessions that have not ended; model, fingerprint and version of their states.
    """
    entry, own = repository.get(model.name), schema_of(model)
    if entry is None or own is None:
        return False
    others = [each for each in entry.versions.values() if each is not model and each.retired_at is None]
    # One after the other: a converter may take states of this schema from one version, and not from another.
    return any(
        not any(fits(each, fingerprint) or _converts(each, fingerprint, version) for each in others)
        for name, fingerprint, version in schemas
        if (name, fingerprint) == (model.name, own.fingerprint)
    )


def _converts(model: Model, fingerprint: str, version: str) -> bool:
    converter = None if model.stateful is None else model.stateful.converter
    return converter is not None and converter.takes(fingerprint, version)


def unreadable(repository: Repository, name: str, version: str, fingerprint: str) -> str | None:
    """Why no version that is here can go on from a state; None: one can, or will when it is loaded."""
    entry = repository.get(name)
    if entry is None or entry.default is None:
        return f"this server has no model '{name}'"
    for model in entry.versions.values():
        if fits(model, fingerprint):
            return None
        if _converts(model, fingerprint, version):
            return None
    return (
        f"it was made by version {version} of model '{name}' with the schema {fingerprint}, and no version that is "
        "here can go on from it or convert it"
    )
