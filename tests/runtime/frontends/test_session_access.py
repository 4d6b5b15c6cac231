import logging
from pathlib import Path

import pytest

from mooring_runtime.errors.sessions import SessionsForbidden
from mooring_runtime.frontends.http.messages import Head, Request
from mooring_runtime.frontends.http.session_access import GIVEN, Access, Right, TokenFile


def request(authorization: bytes | None = None) -> Request:
    headers = {} if authorization is None else {b"authorization": authorization}
    return Request(Head(b"GET", b"/v2/sessions", headers), b"")


@pytest.fixture
def token(tmp_path: Path) -> Path:
    path = tmp_path / "token"
    path.write_text("secret\n")
    return path


@pytest.mark.parametrize(("word", "read", "full"), [("off", False, False), ("read", True, False), ("full", True, True)])
def test_what_everybody_may(word: str, read: bool, full: bool) -> None:
    access = Access(GIVEN[word], None)
    for right, allowed in ((Right.READ, read), (Right.FULL, full)):
        if allowed:
            access.require(request(), right)
        else:
            with pytest.raises(SessionsForbidden, match="MOORING_SESSION_API allows it to nobody"):
                access.require(request(), right)


@pytest.mark.parametrize("authorization", [b"Bearer secret", b"bearer  secret "])
def test_the_token_allows_all(authorization: bytes, token: Path) -> None:
    for given in Right:
        Access(given, TokenFile(token)).require(request(authorization), Right.FULL)


@pytest.mark.parametrize("authorization", [b"Bearer other", b"Basic secret", b"secret", b"Bearer", b"Bearer ", None])
def test_nothing_else_does(authorization: bytes | None, token: Path) -> None:
    access = Access(Right.READ, TokenFile(token))
    access.require(request(authorization), Right.READ)
    with pytest.raises(SessionsForbidden, match="may not change or hand out sessions"):
        access.require(request(authorization), Right.FULL)


def test_an_empty_file_lets_nobody_in(token: Path) -> None:
    token.write_text("\n")
    with pytest.raises(SessionsForbidden):
        Access(Right.NOTHING, TokenFile(token)).require(request(b"Bearer "), Right.READ)


def test_a_token_that_changes_is_read_again(token: Path) -> None:
    file = TokenFile(token)
    assert file.matches(b"secret")
    other = token.with_name("other")
    other.write_text("changed")
    other.replace(token)
    assert not file.matches(b"secret")
    assert file.matches(b"changed")


def test_a_token_that_cannot_be_read_is_told_once(token: Path, caplog: pytest.LogCaptureFixture) -> None:
    file = TokenFile(token)
    assert file.matches(b"secret")
    content = token.read_text()
    token.unlink()
    with caplog.at_level(logging.ERROR):
        assert not file.matches(b"secret")
        assert not file.matches(b"")
    assert len(caplog.records) == 1
    token.write_text(content)
    assert file.matches(b"secret")
