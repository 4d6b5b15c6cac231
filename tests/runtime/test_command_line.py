"""What a wrong command line leaves behind for the pod's status."""

import json
from pathlib import Path

import pytest

from mooring_runtime.__main__ import main


@pytest.mark.parametrize("arguments", [["serve", "--no-such-flag"], ["sing"], []])
def test_a_wrong_argument_is_told_in_the_termination_message(
    arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = tmp_path / "termination-log"
    log.touch()
    monkeypatch.setenv("MOORING_TERMINATION_LOG", str(log))
    assert main(arguments) == 2
    said = json.loads(log.read_text())
    assert said["reason"] == "SettingsInvalid"
    assert "there are no flags" in said["message"]
