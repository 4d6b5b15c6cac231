from dataclasses import FrozenInstanceError
from pathlib import Path

import pytest

from mooring_runtime.settings import (
    FetchSettings,
    ServeSettings,
    SettingsError,
    describe,
    load,
    settings_of,
    termination_log,
    unknown,
)

SERVE = {"MOORING_MODEL_NAME": "m", "MOORING_MODEL_PATH": "/models"}


def test_defaults() -> None:
    settings = load(ServeSettings, SERVE)
    assert (settings.http_port, settings.metrics_port, settings.queue) == (8000, 8002, None)
    assert settings.max_body_bytes == 64 * 2**20
    assert settings.termination_log == Path("/dev/termination-log")
    assert settings.threads >= 1
    assert settings.host == ""


def test_values_are_read_and_fixed() -> None:
    settings = load(ServeSettings, {**SERVE, "MOORING_HTTP_PORT": "9000", "MOORING_DRAIN_SECONDS": "0.5"})
    assert (settings.http_port, settings.drain_seconds) == (9000, 0.5)
    with pytest.raises(FrozenInstanceError):
        settings.http_port = 1  # type: ignore[misc]


def test_an_empty_variable_is_not_set() -> None:
    assert load(ServeSettings, {**SERVE, "MOORING_MODEL_SHA256": "", "MOORING_QUEUE": " "}).queue is None


def test_every_fault_is_named_at_once() -> None:
    with pytest.raises(SettingsError) as caught:
        load(ServeSettings, {"MOORING_MODEL_NAME": "m", "MOORING_HTTP_PORT": "http", "MOORING_QUEUE": "0"})
    assert str(caught.value).splitlines() == [
        "MOORING_MODEL_PATH is not set: it must be a path, or MOORING_MODEL_REPOSITORY one of many models",
        "MOORING_QUEUE is '0': it must be a whole number from 1 to 1000000",
        "MOORING_HTTP_PORT is 'http': it must be a whole number from 0 to 65535 (0: any free port, told in the log)",
    ]


def test_one_model_or_a_repository_of_many() -> None:
    assert load(ServeSettings, {"MOORING_MODEL_REPOSITORY": "/models"}).model_repository == Path("/models")
    with pytest.raises(SettingsError) as caught:
        load(ServeSettings, {**SERVE, "MOORING_MODEL_REPOSITORY": "/models", "MOORING_MODEL_SHA256": "0" * 64})
    assert [line.partition(":")[0] for line in str(caught.value).splitlines()] == [
        "MOORING_MODEL_PATH is set beside MOORING_MODEL_REPOSITORY",
        "MOORING_MODEL_NAME is set beside MOORING_MODEL_REPOSITORY",
        "MOORING_MODEL_SHA256 is set beside MOORING_MODEL_REPOSITORY",
    ]
    with pytest.raises(
        SettingsError, match="MOORING_LOAD_MODELS is set: it chooses from MOORING_MODEL_REPOSITORY only"
    ):
        load(ServeSettings, {**SERVE, "MOORING_LOAD_MODELS": "a,b"})


def test_preferred_sizes_are_at_most_the_largest() -> None:
    given = {**SERVE, "MOORING_BATCH_PREFERRED": "8,64"}
    assert load(ServeSettings, given).batch_preferred == (8, 64)
    words = "MOORING_BATCH_PREFERRED has 64: it must be at most MOORING_BATCH_MAX_SIZE, which is 32"
    with pytest.raises(SettingsError, match=words):
        load(ServeSettings, {**given, "MOORING_BATCH_MAX_SIZE": "32"})


def test_a_wrong_value_is_told_once() -> None:
    with pytest.raises(SettingsError) as caught:
        load(ServeSettings, {"MOORING_MODEL_NAME": "a b", "MOORING_MODEL_PATH": "/m"})
    assert str(caught.value).startswith("MOORING_MODEL_NAME is 'a b': it must be 1 to 253 characters")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("uri", ["http://u:secret@h/x?secret", "secret", "u:secret@h", "https://h:secret/x"])
def test_a_wrong_address_is_shown_without_secrets(uri: str) -> None:
    with pytest.raises(SettingsError) as caught:
        load(FetchSettings, {"MOORING_MODEL_URI": uri, "MOORING_MODEL_SHA256": "0" * 64})
    assert "MOORING_MODEL_URI" in str(caught.value)
    assert "secret" not in str(caught.value)


def test_a_slip_in_a_name_is_noticed() -> None:
    environment = {"MOORING_HTTP_PROT": "1", "MOORING_SERVICE_HOST": "10.0.0.1", "MOORING_HTTP_PORT": "1", "PATH": ""}
    assert unknown(environment, ServeSettings) == [
        "MOORING_HTTP_PROT is no setting and was not read; did you mean MOORING_HTTP_PORT?"
    ]


def test_help_tells_every_variable() -> None:
    text = describe(ServeSettings)
    for setting in settings_of(ServeSettings):
        assert setting.variable in text
        assert setting.kind.allowed in " ".join(text.split())
    assert "MOORING_MODEL_URI  (required)" in describe(FetchSettings)
    assert "MOORING_HTTP_PORT  (default 8000)" in text
    assert "MOORING_ACCESS_LOG  (default false)" in text


def test_help_has_sections_of_several_settings() -> None:
    lines = describe(ServeSettings).splitlines()
    sections = [line for line in lines if line and not line.startswith(" ")]
    assert sections[0].startswith("Which models are served: ")
    assert sections[-1] == "Logs, and the reason of a failure:"
    assert len(sections) == len(set(sections))
    assert max(map(len, lines)) <= 110


def test_the_termination_log_is_found_without_other_settings() -> None:
    assert termination_log({}) == Path("/dev/termination-log")
    assert termination_log({"MOORING_TERMINATION_LOG": "/x"}) == Path("/x")
