"""docs/models.md says what the code does."""

import re
from pathlib import Path

from mooring_runtime.repository import config, files, triton_config
from mooring_runtime.settings import ServeSettings, settings_of

TEXT = (Path(__file__).parents[3] / "docs/models.md").read_text()


def test_the_example_is_one_that_is_read() -> None:
    [example] = re.findall(r"```json\n(.*?)```", TEXT, re.DOTALL)
    found = config.parse(example, "mooring.json")
    assert found.file == "model.onnx"
    assert set(re.findall(r'^  "(\w+)"', example, re.MULTILINE)) == set(config.KEYS)


def test_every_format_and_suffix_is_told() -> None:
    rows = {row[1]: row for row in re.findall(r"^\| (.*?) \| `([\w-]+)`.*? \| (\w+) \|$", TEXT, re.MULTILINE)}
    assert set(rows) == set(files.SUFFIXES.values())
    for suffix, name in files.SUFFIXES.items():
        assert (f"`{suffix}`" if suffix != ".py" else "`model.py`") in rows[name][0]
        assert rows[name][2] == ("yes" if name in files.CODE else "no")


def test_every_key_of_tritons_configuration_is_told() -> None:
    for key in (*triton_config.KEYS, *triton_config.IGNORED):
        assert f"`{key}" in TEXT


def test_every_variable_that_is_told_is_read() -> None:
    names = {setting.variable for setting in settings_of(ServeSettings)}
    assert set(re.findall(r"MOORING_[A-Z0-9_]+", TEXT)) <= names
