"""`mooring-runtime sessions --volume` on stores that a server has left."""

import asyncio
import io
import json
from pathlib import Path

import numpy as np
import pytest

from mooring_runtime.errors import FatalError
from mooring_runtime.session_cli import main
from mooring_runtime.session_cli.commands import Streams
from mooring_runtime.sessions.copies import HERE_BYTES, Copy, End, Phase, Target
from mooring_runtime.sessions.encoding import state_digest, unpack
from mooring_runtime.sessions.keys import Key
from mooring_runtime.sessions.lmdb_store import LmdbStore, open_store
from mooring_runtime.sessions.record import Record
from mooring_runtime.sessions.store import Change, StoreFailed
from tests.support.session_replicas import birth, tensor

COPY = Copy(Phase.HELD, 1, 7, 3, None, None, "1", "f" * 32, 1000, 2000, 16)
A = Key("m", "a")


def die(error: FatalError) -> None:
    raise AssertionError(error)


async def left(path: Path, *changes: Change, record: Record | None = None) -> str:
    """A store that was closed with these changes in it; its id."""
    store: LmdbStore = open_store(path, asyncio.get_running_loop(), fatal=die)
    written: asyncio.Future[StoreFailed | None] = asyncio.get_running_loop().create_future()
    if record is not None:
        store.adopt(record, lambda _: None)
    store.commit(changes, written.set_result)
    assert await written is None
    await asyncio.to_thread(store.close)
    return store.id


def change(key: Key, copy: Copy = COPY) -> Change:
    made = birth()
    return Change(key, copy, made.state if copy.live else (), made.replies)


def run(path: Path, *words: str) -> tuple[int, str, str, bytes]:
    out, error, written = io.StringIO(), io.StringIO(), io.BytesIO()
    code = main((*words, "--volume", str(path)), Streams(out, error, io.BytesIO(), written))
    return code, out.getvalue(), error.getvalue(), written.getvalue()


async def test_what_is_on_a_volume(tmp_path: Path) -> None:
    moving = COPY._replace(phase=Phase.MOVING, to=Target(2, "other"))
    ended = COPY._replace(end=End("expired", 5000, 3), size=0)
    await left(
        tmp_path,
        change(A),
        change(Key("m", "b"), moving),
        change(Key("m", "c"), ended),
        Change(Key("m", "d"), Copy(Phase.MOVED, 1)),
        change(Key("n", "e")),
    )
    code, out, _, _ = run(tmp_path, "list", "--json")
    rows = [json.loads(line) for line in out.splitlines()]
    assert code == 0
    assert [(row["id"], row["state"], row["owner"]) for row in rows] == [
        ("a", "active", -1),
        ("b", "moving", -1),
        ("c", "ended", -1),
        ("e", "active", -1),
    ]
    assert [json.loads(line)["id"] for line in run(tmp_path, "list", "--json", "--model", "n")[1].splitlines()] == ["e"]
    assert "there are more than 2" in run(tmp_path, "list", "--limit", "2")[2]
    shown = json.loads(run(tmp_path, "show", "a")[1])
    assert (shown["step"], shown["digest"]) == (3, state_digest((tensor(1.5),)).hex())
    assert json.loads(run(tmp_path, "show", "b")[1])["moving_to"] == 2
    assert json.loads(run(tmp_path, "show", "c")[1])["ended"]["cause"] == "expired"
    assert "it is not on this volume" in run(tmp_path, "show", "d")[2]


async def test_export_from_a_volume(tmp_path: Path) -> None:
    volume = tmp_path / "volume"
    await left(volume, change(A))
    code, _, _, file = run(volume, "export", "a", "--output", "-")
    assert code == 0
    packed = unpack(file)
    assert packed.key == A
    made = birth()
    assert packed.kept.copy.step == 3
    assert state_digest(packed.kept.state) == state_digest(made.state)
    assert [reply.step for reply in packed.kept.replies] == [1, 2, 3]


async def test_a_model_must_be_named_where_two_have_the_id(tmp_path: Path) -> None:
    await left(tmp_path, change(A), change(Key("n", "a")))
    code, _, error, _ = run(tmp_path, "show", "a")
    assert code == 1
    assert "sessions of several models are called 'a': m, n; choose one by --model" in error
    assert json.loads(run(tmp_path, "show", "a", "--model", "n")[1])["model"] == "n"


async def test_what_is_torn_is_named(tmp_path: Path) -> None:
    state = (tensor(7.25, HERE_BYTES),)  # Too large to stand in the copy's record.
    await left(tmp_path, change(A), Change(Key("m", "b"), COPY._replace(size=4 * HERE_BYTES), state, ()))
    data = (tmp_path / "data.mdb").read_bytes()
    good, torn = (np.full(64, value, "<f4").tobytes() for value in (7.25, 7.5))
    assert good in data
    (tmp_path / "data.mdb").write_bytes(data.replace(good, torn))
    code, _, error, _ = run(tmp_path, "export", "b", "--output", "-")
    assert code == 1
    assert "session 'b' cannot be read: the checksum of its state is wrong" in error
    assert run(tmp_path, "export", "a", "--output", "-")[0] == 0


async def test_what_was_set_aside_is_named(tmp_path: Path) -> None:
    await left(tmp_path, change(A), change(Key("m", "b"), COPY._replace(version="9.8.7")))
    data = (tmp_path / "data.mdb").read_bytes()
    assert b"9.8.7" in data
    (tmp_path / "data.mdb").write_bytes(data.replace(b"9.8.7", b"9.8.6"))
    code, out, error, _ = run(tmp_path, "list", "--json")
    assert code == 0
    assert [json.loads(line)["id"] for line in out.splitlines()] == ["a"]
    assert "set aside: session 'b' of model 'm': the checksum of its copy is wrong" in error
    assert "there is no session 'b': it was set aside: the checksum" in run(tmp_path, "show", "b")[2]


async def test_the_record_tells_whose_the_volume_was(tmp_path: Path) -> None:
    store = await left(tmp_path, change(A))
    await left(tmp_path, record=Record(3, 5, stores={4: store}))
    assert json.loads(run(tmp_path, "list", "--json")[1])["owner"] == 4


def test_what_is_no_volume_is_told(tmp_path: Path) -> None:
    code, out, error, _ = run(tmp_path / "none", "list")
    assert (code, out) == (1, "")
    assert "it is no store of sessions" in error


async def test_a_volume_that_a_server_has_is_left_alone(tmp_path: Path) -> None:
    store = open_store(tmp_path, asyncio.get_running_loop(), fatal=die)
    try:
        code, _, error, _ = run(tmp_path, "list")
    finally:
        await asyncio.to_thread(store.close)
    assert code == 1
    assert "ask it instead (--server), or stop it before" in error


@pytest.mark.parametrize("command", ["import", "fork", "reset", "end", "trace"])
def test_a_volume_is_only_read(command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(tmp_path, command, "a")[0] == 2
    assert "unrecognized arguments: --volume" in capsys.readouterr().err
