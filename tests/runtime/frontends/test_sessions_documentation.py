"""docs/sessions.md tells what the code does."""

import re
from pathlib import Path

from mooring_runtime.errors.sessions import SessionError
from mooring_runtime.frontends.v2 import sessions
from mooring_runtime.messages import SessionInfo
from mooring_runtime.sessions.copies import KEPT_REPLIES, KEPT_REPLY_BYTES
from mooring_runtime.sessions.keys import LONGEST_ID, MINTED
from mooring_runtime.settings import ServeSettings
from mooring_runtime.settings.variables import settings_of

TEXT = (Path(__file__).parents[3] / "docs/sessions.md").read_text()


def test_every_cause_is_told_with_its_codes() -> None:
    rows = re.findall(r"^\| (\d+) \| (\w+) \| `([\w-]+)` \| (\w+) \| \S.* \|$", TEXT, re.MULTILINE)
    found = [
        (str(kind.http_status), kind.grpc_code.name, cause, kind.applied)
        for kind in SessionError.__subclasses__()
        for cause in kind.causes
    ]
    assert sorted(rows) == sorted(found)


def test_every_name_of_a_request_and_of_an_answer_is_told() -> None:
    rows = dict(re.findall(r"^\| `(sequence_\w+)` \| `(X-Mooring-[\w-]+)` \| \S.* \|$", TEXT, re.MULTILINE))
    assert set(rows) >= sessions.PARAMETERS
    for name, header in rows.items():
        if name in sessions.PARAMETERS:
            value = "7" if name not in (sessions.START, sessions.END) else "true"
            by_header = sessions.from_headers({header.lower().encode(): value.encode()})
            assert by_header is not None
            assert by_header == sessions.from_parameters({name: value})
    info = SessionInfo("a", 1, 2, repeat=True, durable=3, ended=True)
    told = dict(sessions.headers(info))
    for name, told_as in sessions.parameters(info).items():
        assert told.pop(rows[name].encode()).decode() == str(told_as).replace("True", "true")
    assert not told


def test_numbers_settings_and_ids() -> None:
    assert f"at most {LONGEST_ID} bytes" in TEXT
    assert f"at most {KEPT_REPLIES} unanswered" in TEXT
    assert f"up to {KEPT_REPLY_BYTES // 1024} KiB" in TEXT
    assert MINTED.fullmatch(re.findall(r"X-Mooring-Session: (0\.\w+)\n", TEXT)[0])
    names = {setting.variable for setting in settings_of(ServeSettings)}
    assert set(re.findall(r"MOORING_[A-Z0-9_]+", TEXT)) <= names
