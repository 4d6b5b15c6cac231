import inspect
import json
from pathlib import Path

import pytest

from mooring_runtime import errors
from mooring_runtime.errors import DigestMismatch, FatalError, MooringError, RequestError
from mooring_runtime.errors.termination import LIMIT, leave_termination_message, termination_message


def every(root: type[MooringError]) -> list[type[MooringError]]:
    """The tree; what a module keeps to itself is no part of it."""
    children = [child for child in root.__subclasses__() if child.__module__ == errors.__name__]
    return [root, *(each for child in children for each in every(child))]


def test_the_tree_in_the_docstring_names_every_class() -> None:
    assert errors.__doc__ is not None
    for each in every(MooringError):
        assert each.__name__ in errors.__doc__
        assert inspect.getdoc(each)


def test_every_code_in_the_docstring_is_the_classes_own() -> None:
    assert errors.__doc__ is not None
    for each in every(RequestError)[1:]:
        assert issubclass(each, RequestError)
        line = next(line for line in errors.__doc__.splitlines() if f"── {each.__name__} " in line)
        told = [word for word in line.split() if word.isdigit()]
        assert told in ([str(each.http_status)], [])
        grpc = [word.rstrip(":") for word in line.split() if word.isupper() and word.endswith(":")]
        assert grpc == [each.grpc_code.name] or (grpc == [] and each.grpc_code == each.__base__.grpc_code)  # type: ignore[union-attr]


def test_a_text_is_utf8_whatever_it_was_made_of() -> None:
    for each in every(MooringError):
        if each is not errors.MethodNotAllowed and each is not errors.ModelAsleep:
            assert str(each("ä \U0001f600: bad \udce9, \ud83d")) == "ä \U0001f600: bad \\udce9, \\ud83d"
    assert str(errors.MethodNotAllowed("bad \udce9", "GET")) == "bad \\udce9"
    assert str(errors.ModelAsleep("bad \udce9", 1)) == "bad \\udce9"


def test_the_message_is_json_with_reason() -> None:
    assert json.loads(termination_message(DigestMismatch("found a, wanted b"))) == {
        "reason": "DigestMismatch",
        "message": "found a, wanted b",
    }


@pytest.mark.parametrize("text", ["x" * 10_000, "é" * 10_000, "\n" * 10_000, '"' * 5000])
def test_a_long_message_is_cut_and_stays_json(text: str) -> None:
    written = termination_message(DigestMismatch(text))
    assert LIMIT - 20 < len(written.encode()) <= LIMIT
    assert json.loads(written)["message"].endswith("…")


def test_it_is_written_where_asked(tmp_path: Path) -> None:
    leave_termination_message(tmp_path / "log", FatalError("x"))
    assert json.loads((tmp_path / "log").read_text())["message"] == "x"


def test_a_place_that_cannot_be_written_is_no_failure(tmp_path: Path) -> None:
    leave_termination_message(tmp_path / "missing" / "log", FatalError("x"))
    leave_termination_message(Path("/dev/mooring-no-such-file"), FatalError("x"))
    assert not Path("/dev/mooring-no-such-file").exists()
