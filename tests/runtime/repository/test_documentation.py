"""docs/models.md says what the code does."""

import re
from pathlib import Path

from mooring_runtime.repository import config, files, state, triton_config
from mooring_runtime.repository.state_config import PairConfig, WindowConfig
from mooring_runtime.settings import ServeSettings, settings_of

TEXT = (Path(__file__).parents[3] / "docs/models.md").read_text()


EXAMPLES = re.findall(r"```json\n(.*?)```", TEXT, re.DOTALL)


def test_the_example_is_one_that_is_read() -> None:
    example, _ = EXAMPLES
    found = config.parse(example, "mooring.json")
    assert found.file == "model.onnx"
    assert set(re.findall(r'^  "(\w+)"', example, re.MULTILINE)) == set(config.KEYS)


def test_the_example_of_a_state_is_one_that_is_read() -> None:
    found = config.parse(EXAMPLES[1], "mooring.json").state
    assert found is not None
    assert found.pairs == (PairConfig("state", "stateN", 1, True, "first.npy"),)
    assert found.windows == (WindowConfig("samples", 64),)
    assert found.constants == {"sr": 16000}
    assert (found.version, found.converter, found.converts) == ("2", "convert.onnx", ("1",))


def test_every_name_of_a_pair_that_is_told_is_one() -> None:
    rows = re.findall(r"^\| (`(?:state_in|past|h_in).*?) \| (.*?) \|$", TEXT, re.MULTILINE)
    assert len(rows) == len(state.CONVENTION)
    for left, right in rows:
        told = set(re.findall("`(.*?)`", right))
        for name in re.findall("`(.*?)`", left):
            assert set(state.partners(name)) & told, name


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
