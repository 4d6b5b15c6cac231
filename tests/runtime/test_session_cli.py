"""`mooring-runtime sessions` against real ports of HTTP, and on volumes."""

import asyncio
import io
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from mooring_runtime import __main__ as program
from mooring_runtime.frontends.http.exchange import Shared
from mooring_runtime.frontends.http.listener import Listener
from mooring_runtime.frontends.http.parser import Limits
from mooring_runtime.frontends.http.services import Options
from mooring_runtime.session_cli import main
from mooring_runtime.session_cli.commands import Streams
from mooring_runtime.session_cli.shown import name, size, span, table
from mooring_runtime.sessions.encoding import unpack
from mooring_runtime.sessions.keys import Key
from mooring_runtime.sessions.trace import TracedStep
from tests.support.session_replicas import MODEL, Replicas, replicas


class Done(NamedTuple):
    """How a command went."""

    code: int
    out: str
    error: str
    written: bytes

    @property
    def document(self) -> Any:
        return json.loads(self.out)


def run(*words: str, stdin: bytes = b"") -> Done:
    out, error, written = io.StringIO(), io.StringIO(), io.BytesIO()
    code = main(words, Streams(out, error, io.BytesIO(stdin), written))
    return Done(code, out.getvalue(), error.getvalue(), written.getvalue())


class Site:
    """Replicas that listen."""

    def __init__(self, service: Replicas, listeners: list[Listener]) -> None:
        self.service = service
        self._listeners = listeners

    async def __call__(self, *words: str, at: int = 0, stdin: bytes = b"") -> Done:
        """Run a command against one of them."""
        server = f"http://127.0.0.1:{self._listeners[at].port}"
        return await asyncio.to_thread(run, *words, "--server", server, stdin=stdin)


@asynccontextmanager
async def site(size: int = 1, options: Options = Options(session_api="full")) -> AsyncIterator[Site]:  # noqa: B008
    with replicas(size, options=options) as service:
        listeners = []
        for replica in service.replicas:
            listeners.append(Listener(Shared(replica.app, Limits()), "127.0.0.1", 0, "MOORING_HTTP_PORT"))
            await listeners[-1].start()
        try:
            yield Site(service, listeners)
        finally:
            for listener in listeners:
                listener.close()
                await listener.wait_closed()


@pytest.fixture(autouse=True)
def _no_token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MOORING_SESSION_TOKEN", raising=False)
    monkeypatch.delenv("MOORING_SESSION_TOKEN_FILE", raising=False)


async def test_list() -> None:
    async with site() as ask:
        for session in ("b", "a", "c"):
            await ask.service[0].hold(session)
        done = await ask("list")
        assert (done.code, done.error) == (0, "")
        head, *rows = done.out.splitlines()
        assert head.split() == ["ID", "MODEL", "STATE", "OWNER", "STEP", "BYTES", "VERSION", "AGE", "IDLE", "EXPIRES"]
        assert [row.split()[:5] for row in rows] == [[each, MODEL, "active", "0", "3"] for each in "abc"]
        done = await ask("list", "--prefix", "b", "--json")
        assert [json.loads(line)["id"] for line in done.out.splitlines()] == ["b"]
        assert (await ask("list", "--state", "ended", "--json")).out == ""
        done = await ask("list", "--limit", "2", "--json")
        assert [json.loads(line)["id"] for line in done.out.splitlines()] == ["a", "b"]
        assert "there are more than 2" in done.error


async def test_list_goes_through_all_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mooring_runtime.session_cli.commands.MOST_ROWS", 2)
    async with site() as ask:
        for number in range(7):
            await ask.service[0].hold(str(number))
        done = await ask("list", "--json")
        assert [json.loads(line)["id"] for line in done.out.splitlines()] == list("0123456")


async def test_list_tells_who_did_not_answer() -> None:
    async with site(3) as ask:
        await ask.service[0].hold("a")
        ask.service.down.add(1)
        done = await ask("list")
        assert done.code == 3
        assert "ordinal 1 did not answer, so its sessions are not listed" in done.error
        assert done.out.splitlines()[1].split()[0] == "a"


async def test_show_reset_end() -> None:
    async with site(3) as ask:
        session = "s1"
        owner = await _held(ask, session)
        for at in range(3):
            assert (await ask("show", session, at=at)).document["owner"] == owner
        assert (await ask("reset", session, at=1)).document["step"] == 0
        assert (await ask("end", session, "--model", MODEL, at=2)).document["state"] == "ended"


async def _held(ask: Site, session: str) -> int:
    await ask("import", "-", "--id", session, stdin=await _file())
    return int((await ask("show", session)).document["owner"])


async def _file() -> bytes:
    with replicas() as other:
        await other[0].hold("x")
        return await other[0].administration.export(Key(MODEL, "x"))


async def test_export_and_import(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    async with site() as ask:
        await ask.service[0].hold("a/b")
        done = await ask("export", "a/b")
        assert (done.code, done.out) == (0, "")
        assert unpack((tmp_path / "a_b.session").read_bytes()).key.session == "a/b"
        done = await ask("export", "a/b")
        assert done.code == 1
        assert "a_b.session: File exists; choose another by --output" in done.error
        piped = await ask("export", "a/b", "--output", "-")
        assert unpack(piped.written).kept.copy.step == 3
        assert (await ask("import", "a_b.session", "--id", "c")).document["id"] == "c"
        assert "(exists)" in (await ask("import", "a_b.session")).error
        assert (await ask("import", "-", "--id", "new", stdin=piped.written)).document["id"].startswith("0.")
        assert "cannot read none: No such file" in (await ask("import", "none")).error


async def test_fork() -> None:
    async with site() as ask:
        await ask.service[0].hold("a")
        assert (await ask("fork", "a", "--to", "b")).document["id"] == "b"
        assert (await ask("fork", "a")).document["id"].startswith("0.")


async def test_trace() -> None:
    async with site() as ask:
        key = await ask.service[0].hold("a")
        assert (await ask("trace", "a")).document == {"keeps": 100, "steps": []}
        ask.service[0].traces.applied(key, TracedStep(4, 0, 0.1, 0.2, 0.3, 16, b"x"))
        assert [step["step"] for step in (await ask("trace", "a")).document["steps"]] == [4]
        assert (await ask("trace", "a", "--steps", "5")).document["keeps"] == 5
        assert (await ask("trace", "a", "--steps", "0")).document == {"keeps": 0, "steps": []}


async def test_the_token(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    token = tmp_path / "token"
    token.write_text("secret\n")
    async with site(options=Options(session_api="read", session_token_file=token)) as ask:
        await ask.service[0].hold("a")
        assert (await ask("show", "a")).code == 0
        done = await ask("end", "a")
        assert done.code == 1
        assert "(forbidden); set MOORING_SESSION_TOKEN" in done.error
        monkeypatch.setenv("MOORING_SESSION_TOKEN", "other")
        assert "is not that of MOORING_SESSION_TOKEN_FILE" in (await ask("end", "a")).error
        monkeypatch.setenv("MOORING_SESSION_TOKEN", "a\nb")
        assert "cannot ask http://127.0.0.1" in (await ask("end", "a")).error
        monkeypatch.setenv("MOORING_SESSION_TOKEN", "")
        monkeypatch.setenv("MOORING_SESSION_TOKEN_FILE", str(token))
        assert (await ask("end", "a")).document["state"] == "ended"
        monkeypatch.setenv("MOORING_SESSION_TOKEN_FILE", str(tmp_path / "none"))
        assert "cannot read the token" in (await ask("end", "a")).error


async def test_what_goes_wrong_is_told_in_a_line() -> None:
    async with site() as ask:
        done = await ask("show", "nobody")
        assert done.code == 1
        assert done.error.startswith("mooring-runtime sessions show: session 'nobody' is unknown")
        assert done.error.endswith("(unknown)\n")
    done = run("list", "--server", "http://127.0.0.1:1")
    assert (done.code, done.out) == (1, "")
    assert "cannot ask http://127.0.0.1:1" in done.error
    assert "it must be like http://127.0.0.1:8000" in run("list", "--server", "ftp://x").error
    assert "cannot ask http://x:y" in run("list", "--server", "http://x:y").error


@pytest.mark.parametrize(
    "words",
    [[], ["sing"], ["show"], ["list", "--limit", "0"], ["end", "a", "--volume", "."], ["trace", "a", "--steps", "-1"]],
)
def test_a_wrong_command_line(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(*words).code == 2
    assert "usage: mooring-runtime sessions" in capsys.readouterr().err


def test_it_is_a_command_of_the_program(capsys: pytest.CaptureFixture[str]) -> None:
    assert program.main(["sessions", "--help"]) == 0
    assert "With --volume it reads a volume that no server has open" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        program.main(["--help"])
    assert "look at sessions and change them" in capsys.readouterr().out


def test_how_numbers_look() -> None:
    assert [size(count) for count in (0, 1023, 1024, 1536, 2**20, 5 * 2**30)] == [
        "0 B",
        "1023 B",
        "1.0 KiB",
        "1.5 KiB",
        "1.0 MiB",
        "5.0 GiB",
    ]
    assert [span(seconds) for seconds in (0, 59.9, 60, 3599, 3600, 86399, 86400, 100_000)] == [
        "0s",
        "59s",
        "1m00s",
        "59m59s",
        "1h00m",
        "23h59m",
        "1d00h",
        "1d03h",
    ]


def test_no_id_commands_the_terminal() -> None:
    assert name("a\x9b2Jb\u202e") == "a\\x9b2Jb\\u202e"
    row = {"id": "a\x9b2J", "model": "m", "state": "ended", "cause": "expired", "owner": -1, "step": 1, "bytes": 4}
    row |= {"version": "", "age_seconds": 1.0, "idle_seconds": 1.0, "expires_in_seconds": None}
    [_, line] = table([row]).splitlines()
    assert line.split() == ["a\\x9b2J", "m", "ended", "(expired)", "-", "1", "4", "B", "-", "1s", "1s", "never"]


async def test_what_was_set_aside_is_listed_and_dropped() -> None:
    async with site() as served:
        served.service[0].table.quarantined[Key(MODEL, "a")] = "why"
        listed = await served("list", "--state", "quarantined")
        assert listed.out.splitlines()[1].split() == ["a", "m", "quarantined", "(why)", "0", *"------"]
        dropped = await served("drop", "a")
        assert (dropped.code, dropped.document["dropped"]) == (0, "why")
        again = await served("drop", "a")
        assert again.code == 1
        assert "was set aside nowhere" in again.error
