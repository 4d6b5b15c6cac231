"""What V2's clients read and change about logs and traces: each setting acts or is refused by its name."""

import json
import logging
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from mooring_runtime.dataplane.observability import LogSettings, TraceSettings
from mooring_runtime.dataplane.trace_file import TraceFile
from mooring_runtime.errors import InvalidRequest, UnknownModel
from mooring_runtime.settings import logs

log = logging.getLogger("mooring_runtime.test")


@pytest.fixture
def settings() -> Iterator[LogSettings]:
    root = logging.getLogger()
    before = root.level, list(root.handlers)
    logs.configure("INFO", "json")
    yield LogSettings()
    logs.configure("INFO", "json")
    root.setLevel(before[0])
    root.handlers[:] = before[1]


def said(capsys: pytest.CaptureFixture[str]) -> list[str]:
    for level in (logging.DEBUG, logging.INFO, logging.WARNING, logging.ERROR):
        log.log(level, "at %s", logging.getLevelName(level))
    return [json.loads(line)["level"] for line in capsys.readouterr().err.splitlines()]


def configured(capsys: pytest.CaptureFixture[str], level: str) -> LogSettings:
    logs.configure(level, "json")  # Anew, so that the handler has the stream that is captured now.
    return LogSettings()


def test_log_levels_take_effect_one_by_one(settings: LogSettings, capsys: pytest.CaptureFixture[str]) -> None:
    settings = configured(capsys, "INFO")
    assert said(capsys) == ["INFO", "WARNING", "ERROR"]
    settings.update({"log_warning": False})
    assert said(capsys) == ["INFO", "ERROR"]
    settings.update({"log_verbose_level": 1, "log_info": False, "log_error": False})
    assert said(capsys) == ["DEBUG"]
    settings.update({"log_info": True, "log_warning": True, "log_error": True, "log_verbose_level": 0})
    assert said(capsys) == ["INFO", "WARNING", "ERROR"]


def test_what_the_process_started_with_is_shown(settings: LogSettings, capsys: pytest.CaptureFixture[str]) -> None:
    assert configured(capsys, "WARNING").get() == {
        "log_file": "",
        "log_info": False,
        "log_warning": True,
        "log_error": True,
        "log_verbose_level": 0,
        "log_format": "json",
    }


def test_the_layout_changes_and_comes_back(settings: LogSettings, capsys: pytest.CaptureFixture[str]) -> None:
    settings = configured(capsys, "INFO")
    settings.update({"log_format": "text"})
    log.info("hello", extra={"port": 8000})
    assert capsys.readouterr().err.endswith(" INFO mooring_runtime.test: hello port=8000\n")
    settings.update({"log_format": "default"})
    assert said(capsys) == ["INFO", "WARNING", "ERROR"]


def test_the_access_log_is_written_at_any_level(settings: LogSettings, capsys: pytest.CaptureFixture[str]) -> None:
    configured(capsys, "ERROR")
    logging.getLogger(logs.ACCESS).info("GET /")
    assert json.loads(capsys.readouterr().err)["message"] == "GET /"


@pytest.mark.parametrize(
    ("wanted", "words"),
    [
        ({"log_info": 1}, "log_info is 1, it must be true or false"),
        ({"log_verbose_level": -1}, "log_verbose_level is -1, it must be a whole number from 0; above 0 is debugging"),
        ({"log_format": "ISO8601"}, "log_format is 'ISO8601', it must be default, json or text"),
        ({"log_file": "x"}, "log_file is 'x': this server logs to standard error only; leave it empty"),
        ({"color": True}, "there is no log setting color; there are log_file, log_info, log_warning,"),
    ],
)
def test_what_cannot_be_logged_is_refused(settings: LogSettings, wanted: Mapping[str, Any], words: str) -> None:
    before = settings.get()
    with pytest.raises(InvalidRequest) as caught:
        settings.update({"log_warning": False, **wanted})
    assert str(caught.value).startswith(words)
    assert settings.get() == before


# --- traces


def traces(file: TraceFile | None = None) -> TraceSettings:
    return TraceSettings(file or TraceFile(Path("traces.json")), lambda: ["m", "n"])


def chosen(settings: TraceSettings, model: str, requests: int) -> list[int]:
    return [number for number in range(1, requests + 1) if settings.rules(model).chosen()]


def test_traces_are_off_at_first() -> None:
    settings = traces()
    assert settings.get() == {
        "trace_file": "traces.json",
        "trace_level": ["OFF"],
        "trace_rate": "1000",
        "trace_count": "-1",
        "log_frequency": "0",
        "trace_mode": "triton",
    }
    assert not settings.active
    assert chosen(settings, "m", 2000) == []


def test_rate_and_count_choose_requests() -> None:
    settings = traces()
    switched: list[bool] = []
    settings.switched = switched.append
    settings.update(None, {"trace_level": ["TIMESTAMPS"], "trace_rate": "3", "trace_count": ["2"]})
    assert chosen(settings, "m", 20) == [3, 6]
    assert settings.get()["trace_count"] == "0"
    settings.update(None, {"trace_level": None})
    assert switched == [True, False]


def test_a_model_may_differ_and_null_takes_what_all_have() -> None:
    settings = traces()
    settings.update(None, {"trace_level": "TIMESTAMPS", "trace_rate": 2})
    settings.update("m", {"trace_rate": 5})
    assert (chosen(settings, "m", 5), chosen(settings, "n", 5)) == ([5], [2, 4])
    settings.update("m", {"trace_rate": None})
    assert settings.get("m")["trace_rate"] == "2"


@pytest.mark.parametrize(
    ("wanted", "words"),
    [
        ({"trace_level": ["TENSORS"]}, "trace_level is ['TENSORS'], it must be OFF or TIMESTAMPS: tensors are not"),
        ({"trace_rate": "0"}, "trace_rate is '0', it must be a whole number from 1"),
        ({"trace_count": "some"}, "trace_count is 'some', it must be a whole number from -1"),
        ({"trace_file": "/etc/passwd"}, "trace_file is 'traces.json' and cannot be changed over the network"),
        ({"trace_mode": ["opentelemetry"]}, "trace_mode is 'triton' and cannot be changed over the network"),
        ({"resource": "a=b"}, "there is no trace setting resource; there are trace_file, trace_level,"),
    ],
)
def test_what_cannot_be_traced_is_refused(wanted: Mapping[str, Any], words: str) -> None:
    settings = traces()
    before = settings.get()
    with pytest.raises(InvalidRequest) as caught:
        settings.update(None, {"trace_rate": "7", **wanted})
    assert str(caught.value).startswith(words)
    assert settings.get() == before


def test_a_file_is_needed_and_a_model_that_exists() -> None:
    with pytest.raises(InvalidRequest, match="there is no file for traces: set MOORING_TRACE_FILE"):
        TraceSettings(None, lambda: ["m"]).update(None, {"trace_level": ["TIMESTAMPS"]})
    with pytest.raises(UnknownModel, match="unknown model 'x'"):
        traces().get("x")
    with pytest.raises(InvalidRequest, match="log_frequency cannot be set for one model"):
        traces().update("m", {"log_frequency": "5"})


def test_others_hear_of_an_update() -> None:
    settings = traces()
    heard: list[tuple[str | None, Mapping[str, Any]]] = []
    settings.changed = lambda model, wanted: heard.append((model, wanted))
    settings.update("m", {"trace_rate": "5"})
    with pytest.raises(InvalidRequest):
        settings.update("m", {"trace_rate": "-5"})
    assert heard == [("m", {"trace_rate": "5"})]
