"""Which version goes on with a session, and which ones sessions need."""

from dataclasses import dataclass

import numpy as np
import pytest

from mooring_runtime.dataplane.carriers import carrier, needed, unreadable
from mooring_runtime.errors.sessions import SessionUnavailable
from mooring_runtime.messages import StateSchema
from mooring_runtime.repository import Model, Repository
from mooring_runtime.repository.converter import StateConverter
from mooring_runtime.sessions.copies import Copy, Phase
from tests.support.session_plane import MODEL, SessionPlane, schema

OLD, NEW = schema(2), schema(3)


@dataclass
class Versions:
    """Version 1 has the old schema, version 2 is as the test says."""

    served: SessionPlane

    @property
    def repository(self) -> Repository:
        return self.served.repository

    def model(self, version: str) -> Model:
        return self.repository.find(MODEL, version)

    def schemas(self, *made: tuple[StateSchema, str]) -> list[tuple[str, str, str]]:
        return [(MODEL, each.fingerprint, version) for each, version in made]


def versions(second: StateSchema | None = None, converter: StateConverter | None = None) -> Versions:
    served = SessionPlane()
    if second is not None:
        served.load("2", second, converter)
    return Versions(served)


def state_of(kept: StateSchema, version: str) -> Copy:
    return Copy(Phase.HELD, 1, 7, 3, version=version, fingerprint=kept.fingerprint)


def taking(*names: str) -> StateConverter:
    return StateConverter(NEW, lambda state, version: {"h_in": np.zeros((1, 3), np.float32)}, takes=names)


@pytest.mark.parametrize(
    ("second", "converter", "copy", "expected"),
    [
        (None, None, None, "1"),
        (NEW, None, None, "2"),
        (OLD, None, state_of(OLD, "1"), "2"),
        (NEW, None, state_of(OLD, "1"), "1"),
        (NEW, taking(), state_of(OLD, "1"), "2"),
        (NEW, taking("1"), state_of(OLD, "1"), "2"),
        (NEW, taking("7"), state_of(OLD, "1"), "1"),
        (NEW, None, state_of(NEW, "2"), "2"),
        (NEW, None, state_of(OLD, "9"), "1"),
    ],
)
async def test_who_runs_the_next_step(
    second: StateSchema | None, converter: StateConverter | None, copy: Copy | None, expected: str
) -> None:
    repository = versions(second, converter).repository
    found = carrier(repository, MODEL, None, copy)
    assert found.model.version == expected
    assert (found.converter is not None) == (converter is not None and expected == "2")


async def test_a_version_that_is_named_runs_it_or_nobody() -> None:
    repository = versions(NEW).repository
    assert carrier(repository, MODEL, "1", state_of(OLD, "1")).model.version == "1"
    with pytest.raises(SessionUnavailable, match="version 2 can neither go on from it nor convert it") as caught:
        carrier(repository, MODEL, "2", state_of(OLD, "1"))
    assert caught.value.cause == "version-missing"
    assert "and the request names that version: if it named none, version 1 would go on" in str(caught.value)
    for version in (None, "2"):
        with pytest.raises(SessionUnavailable, match="and this server has no version that can"):
            carrier(repository, MODEL, version, state_of(schema(4), "9"))


async def test_which_states_nobody_here_can_go_on_from() -> None:
    repository = versions(NEW).repository
    assert unreadable(repository, MODEL, "1", OLD.fingerprint) is None
    assert unreadable(repository, MODEL, "2", NEW.fingerprint) is None
    assert "no version that is here" in str(unreadable(repository, MODEL, "3", schema(4).fingerprint))
    assert "no model 'other'" in str(unreadable(repository, "other", "1", OLD.fingerprint))
    assert unreadable(versions(NEW, taking("3")).repository, MODEL, "3", schema(4).fingerprint) is None


async def test_a_version_is_needed_by_sessions_that_no_other_can_go_on_with() -> None:
    both = versions(NEW)
    one = both.model("1")
    one.retired_at = 1.0
    assert needed(both.repository, one, both.schemas((OLD, "1"), (NEW, "2")))
    assert not needed(both.repository, one, both.schemas((NEW, "2")))
    assert not needed(both.repository, one, [("other", OLD.fingerprint, "1")])
    for others in (versions(OLD), versions(NEW, taking())):
        assert not needed(others.repository, others.model("1"), others.schemas((OLD, "1")))


@pytest.mark.parametrize("made", [("1", "7"), ("7", "1")])
async def test_a_version_is_needed_by_each_session_that_a_converter_does_not_take(made: tuple[str, str]) -> None:
    """Sessions of one schema may come from several versions, of which the converter takes some."""
    both = versions(NEW, taking("7"))
    schemas = both.schemas(*((OLD, version) for version in made))
    assert needed(both.repository, both.model("1"), schemas)
    assert not needed(both.repository, both.model("1"), [each for each in schemas if each[2] == "7"])


async def test_a_version_that_only_sessions_need_answers_no_other_request() -> None:
    both = versions(NEW)
    both.model("2").retired_at = 1.0
    both.repository.refresh(MODEL)
    assert carrier(both.repository, MODEL, None, None).model.version == "1"
    assert carrier(both.repository, MODEL, None, state_of(NEW, "2")).model.version == "2"
