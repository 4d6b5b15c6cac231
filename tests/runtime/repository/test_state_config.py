"""The key `state` of mooring.json, and what the settings say over it."""

import json

import pytest

from mooring_runtime.errors import ModelInvalid
from mooring_runtime.repository import config
from mooring_runtime.repository.config import ModelConfig
from mooring_runtime.repository.state_config import UNSAID, PairConfig, StateConfig, WindowConfig
from mooring_runtime.settings import ServeSettings, SettingsError, load

WHOLE = {
    "version": "2",
    "pairs": [
        {"input": "h_in", "output": "h_out", "axis": 1, "initial": "h0.npy"},
        {"input": "c_in", "output": "c_out", "axis": None},
        {"input": "s", "output": "sN"},
    ],
    "windows": [{"input": "samples", "keep": 64}],
    "constants": {"sr": 16000, "window": [0.5, 0.5]},
    "converter": {"file": "convert.onnx", "from": ["1", "0123456789abcdef0123456789abcdef"]},
}


def parse(state: object) -> StateConfig | None:
    return config.parse(json.dumps({"state": state}), "mooring.json").state


def test_everything_that_may_be_said() -> None:
    assert parse(WHOLE) == StateConfig(
        (
            PairConfig("h_in", "h_out", 1, True, "h0.npy"),
            PairConfig("c_in", "c_out", None, True),
            PairConfig("s", "sN"),
        ),
        (WindowConfig("samples", 64),),
        {"sr": 16000, "window": [0.5, 0.5]},
        "2",
        "convert.onnx",
        ("1", "0123456789abcdef0123456789abcdef"),
    )


def test_what_is_left_out() -> None:
    assert config.parse("{}", "mooring.json").state == UNSAID
    assert parse({}) == StateConfig(declared=True)
    assert parse(False) is None
    assert parse({"converter": {"file": "convert.py"}}) == StateConfig(converter="convert.py")


@pytest.mark.parametrize(
    ("state", "words"),
    [
        (True, "mooring.json: state is true: it must be a JSON object, or false where clients carry the state"),
        ({"pair": []}, "state has no key 'pair': it may have version, pairs, windows, constants, converter"),
        ({"version": 2}, "state.version is 2: it must be a string of letters, digits"),
        ({"version": "-"}, 'state.version is "-": it must be a string of letters, digits'),
        ({"pairs": {}}, "state.pairs is {}: it must be a list of pairs"),
        (
            {"pairs": [{"input": "h_in"}]},
            "state.pairs[0].output is null: it must be the name of an output of the model",
        ),
        ({"pairs": [{"input": "a", "output": "b", "shape": []}]}, "state.pairs[0] has no key 'shape'"),
        ({"pairs": [{"input": "a", "output": "b", "axis": -1}]}, "axis is -1: it must be a whole number from 0"),
        (
            {"pairs": [{"input": "a", "output": "b", "initial": "zeros"}]},
            'initial is "zeros": it must be the name of a',
        ),
        ({"pairs": [{"input": "a", "output": "b", "initial": "../h.npy"}]}, "without a path"),
        ({"windows": [{"input": "x"}]}, "state.windows[0].keep is null: it must be a whole number from 1"),
        ({"windows": [{"keep": 3}]}, "state.windows[0].input is null: it must be the name of an input"),
        ({"constants": [16000]}, "state.constants is [16000]: it must be a JSON object"),
        ({"converter": "convert.onnx"}, 'state.converter is "convert.onnx": it must be a JSON object'),
        (
            {"converter": {"file": "c.pt"}},
            'state.converter.file is "c.pt": it must be the name of an .onnx or a .py file',
        ),
        (
            {"converter": {"file": "c.py", "from": [1]}},
            "state.converter.from[0] is 1: it must be a version of the model",
        ),
    ],
)
def test_what_is_wrong_is_told_with_its_place(state: object, words: str) -> None:
    with pytest.raises(ModelInvalid) as caught:
        parse(state)
    assert words in str(caught.value)


def test_the_settings_win() -> None:
    settings = ServeSettings(state_version="3", state_converter="other.py")
    own = ModelConfig(state=StateConfig(version="2", converter="convert.onnx", converts=("1",)))
    assert own.under(ServeSettings()) == own
    assert own.under(settings).state == StateConfig(version="3", converter="other.py", converts=("1",))
    # They speak of a state that a model may have; they do not give it one, nor take it from its clients.
    assert ModelConfig().under(settings).state == StateConfig(version="3", converter="other.py", declared=False)
    assert ModelConfig(state=None).under(settings).state is None


@pytest.mark.parametrize(
    ("variable", "text", "words"),
    [
        ("MOORING_STATE_VERSION", "v 2", "letters, digits"),
        ("MOORING_STATE_CONVERTER", "../convert.py", "the name of an .onnx or a .py file, without a folder"),
    ],
)
def test_settings_that_are_wrong_are_told(variable: str, text: str, words: str) -> None:
    with pytest.raises(SettingsError, match=words):
        load(ServeSettings, {"MOORING_MODEL_NAME": "m", "MOORING_MODEL_PATH": "/m", variable: text})
