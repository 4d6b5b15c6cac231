"""Which version of a model carries a session on, and the conversion of its state."""

from mooring_runtime.errors import ModelNotReady
from mooring_runtime.messages import SessionCall
from mooring_runtime.repository import State
from tests.support.session_plane import MODEL, SessionPlane, cause, schema, summed, told
from tests.support.session_runs import doubling


async def test_a_new_version_with_the_same_schema_goes_on() -> None:
    served = SessionPlane()
    await served.step("s", 1, start=True)
    newer = served.load("2", schema())
    answer = await served.step("s", 2)
    assert (summed(answer), answer.model_version) == (3, "2")  # type: ignore[union-attr]
    assert (newer.runs, served.disk.kept[served.key("s")].copy.version) == ([1], "2")


async def test_a_session_stays_with_the_version_that_knows_its_state() -> None:
    served = SessionPlane()
    await served.step("old", 1, start=True)
    served.load("2", schema(3))
    old, new = await served.step("old", 2), await served.step("new", 5, start=True)
    assert (summed(old), old.model_version) == (3, "1")  # type: ignore[union-attr]
    assert (summed(new), new.model_version) == (5, "2")  # type: ignore[union-attr]
    error = await served.begin(SessionCall("old"), 2, version="2").outcome()
    assert cause(error) == ("version-missing", "no")
    assert summed(await served.begin(SessionCall("new"), 2, version="2").outcome()) == 7


async def test_without_a_version_that_knows_the_state_the_step_is_refused_and_nothing_lost() -> None:
    served = SessionPlane()
    await served.step("s", 1, start=True)
    served.repository.remove(served.repository.find(MODEL, "1"))
    served.load("2", schema(3))
    error = await served.step("s", 2)
    assert cause(error) == ("version-missing", "no")
    served.load("1", schema())
    assert await served.sum("s", 2) == 3


async def test_a_conversion_happens_inside_the_first_step_of_the_new_version() -> None:
    served = SessionPlane()
    await served.step("s", 1, start=True)
    served.load("2", schema(3), doubling(schema(3)))
    answer = await served.step("s", 5, step=2)
    assert (summed(answer), answer.model_version) == (7, "2")  # type: ignore[union-attr]
    kept = served.disk.kept[served.key("s")]
    assert (kept.copy.fingerprint, kept.state[0].array.shape) == (schema(3).fingerprint, (1, 3))
    assert told(await served.step("s", 5, step=2)).repeat
    assert await served.sum("s", 1) == 8, "and not again"


async def test_a_conversion_that_fails_leaves_the_session_as_it_was() -> None:
    served = SessionPlane()
    await served.step("s", 1, start=True)
    served.load("2", schema(3), doubling(schema(3), fails=True))
    assert cause(await served.step("s", 5)) == ("backend", "no")
    assert served.disk.kept[served.key("s")].copy.version == "1"
    assert summed(await served.begin(SessionCall("s"), 5, version="1").outcome()) == 6


async def test_a_version_that_is_not_loaded() -> None:
    served = SessionPlane()
    await served.step("s", 1, start=True)
    model = served.repository.find(MODEL, "1")
    model._batcher, model.state = None, State.UNAVAILABLE
    assert isinstance(await served.step("s", 2), ModelNotReady)
