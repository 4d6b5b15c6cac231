"""docs/openapi/sessions.yaml has the routes, parameters and answers of the server; so has the page for people."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from mooring_runtime.frontends.http.services import Opening
from mooring_runtime.frontends.http.session_access import Access, Right
from mooring_runtime.frontends.http.session_paths import PATHS, NoSessions
from mooring_runtime.frontends.http.sessions import Sessions
from mooring_runtime.sessions.keys import Key
from tests.support.session_replicas import OPENAPI, Replicas, get, post, replicas

METHODS = ("get", "post", "delete")


@pytest.fixture
def alone() -> Iterator[Replicas]:
    with replicas() as service:
        yield service


def test_the_document_has_the_routes_of_the_server() -> None:
    routes = {(pattern, method.lower()) for method, pattern in PATHS}
    methods = {"get", "put", "post", "delete"}
    assert {(path, word) for path, said in OPENAPI.paths.items() for word in said if word in methods} == routes


def test_a_server_has_the_same_routes_whether_it_keeps_sessions_or_not() -> None:
    for table in (Sessions(Opening(), Access(Right.FULL, None)), NoSessions()):
        assert tuple((method, pattern) for method, pattern, _ in table.routes()) == PATHS


@pytest.mark.parametrize(
    ("method", "target"),
    [(method.upper(), path) for path, said in OPENAPI.paths.items() for method in METHODS if method in said],
)
async def test_the_document_has_the_parameters_of_the_server(alone: Replicas, method: str, target: str) -> None:
    target = target.replace("{session}", "a")
    told = b"".join((await alone.ask(0, method, f"{target}?x=1")).body).decode()
    said = told.partition("of this call, there ")[2].partition(" ")[2].partition('"')[0]
    assert set(said.removeprefix("only ").split(", ")) == OPENAPI.parameters(method, target)


async def test_every_good_answer_of_the_document_is_given(alone: Replicas) -> None:
    OPENAPI.seen.clear()
    await alone[0].hold("a")
    file = b"".join((await get(alone, "/v2/sessions/a/export")).body)
    await alone.ask(0, "POST", "/v2/sessions/import?id=b", file)
    for target in ("", "/a", "/a/trace"):
        await get(alone, f"/v2/sessions{target}")
    for target in ("", "/a/fork", "/a/reset", "/a/end"):
        await post(alone, f"/v2/sessions{target}")
    await post(alone, "/v2/sessions/a/trace", {"keep": 1})
    alone[0].table.quarantined[Key("m", "torn")] = "why"
    await alone.ask(0, "DELETE", "/v2/sessions/torn")
    good = {
        (path, method.upper(), status)
        for path, said in OPENAPI.paths.items()
        for method in METHODS
        for status in said.get(method, {"responses": {}})["responses"]
        if status != "default"
    }
    assert OPENAPI.seen == good


def test_the_page_for_people_tells_every_route() -> None:
    page = (Path(__file__).parents[3] / "docs" / "sessions-api.md").read_text()
    for path, said in OPENAPI.paths.items():
        for method in ("get", "post"):
            if method in said:
                assert f"| `{method.upper()} {path.replace('{session}', 'ID')}` |" in page
