from pathlib import Path

import pytest

from mooring_runtime.errors import ModelInvalid, ModelNotFound
from mooring_runtime.repository import config
from mooring_runtime.repository.config import ModelConfig, VersionPolicy
from mooring_runtime.repository.state_config import StateConfig
from mooring_runtime.settings import ServeSettings

WHOLE = """{
  "file": "best.onnx",
  "batching": {"maxSize": 32, "maxDelay": "2ms", "preferredSizes": [8, 16, 32]},
  "versions": {"latest": 2},
  "warmup": {"runs": 7, "requests": "warmup.json"},
  "labels": {"scores": ["cat", "dög"]},
  "inputs": [{"name": "x", "datatype": "FP32", "shape": [-1, 4]}],
  "outputs": [{"name": "y", "datatype": "BYTES", "shape": []}],
  "state": {"version": "2"}
}"""


def test_every_key_is_read() -> None:
    found = config.parse(WHOLE, "mooring.json")
    assert found.file == "best.onnx"
    assert (found.max_batch, found.max_delay, found.preferred) == (32, 0.002, (8, 16, 32))
    assert found.versions == VersionPolicy(latest=2)
    assert (found.warmup, found.requests) == (7, "warmup.json")
    assert found.labels == {"scores": ("cat", "dög")}
    assert [(spec.name, spec.datatype, spec.shape) for spec in found.inputs] == [("x", "FP32", (-1, 4))]
    assert [(spec.name, spec.datatype, spec.shape) for spec in found.outputs] == [("y", "BYTES", ())]
    assert found.state == StateConfig(version="2")


def test_every_key_may_be_left_out() -> None:
    assert config.parse("{}", "mooring.json") == ModelConfig()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "mooring.json is no JSON: Expecting value"),
        ("[]", "mooring.json is []: it must be a JSON object"),
        ('{"file": "a", "file": "b"}', "mooring.json has the key 'file' twice in one object: write it once"),
        ('{"batch": 1}', "mooring.json has no key 'batch': it may have file, batching, versions, warmup, labels"),
        ('{"batching": 8}', "mooring.json: batching is 8: it must be a JSON object"),
        (
            '{"batching": {"maxsize": 8}}',
            "mooring.json: batching has no key 'maxsize': it may have maxSize, maxDelay, preferredSizes",
        ),
        ('{"batching": {"maxSize": 0}}', "batching.maxSize is 0: it must be a whole number from 1 to 4096"),
        ('{"batching": {"maxSize": true}}', "batching.maxSize is true: it must be a whole number"),
        ('{"batching": {"maxSize": "8"}}', 'batching.maxSize is "8": it must be a whole number'),
        ('{"batching": {"maxDelay": 2}}', "batching.maxDelay is 2: it must be a number with a unit (us, ms, s, m"),
        ('{"batching": {"maxDelay": "2"}}', 'batching.maxDelay is "2": it must be a number with a unit'),
        (
            '{"batching": {"preferredSizes": [8, 4]}}',
            "preferredSizes is [8, 4]: it must be a list of whole numbers that",
        ),
        (
            '{"batching": {"preferredSizes": [8, 0]}}',
            "batching.preferredSizes[1] is 0: it must be a whole number from 1",
        ),
        (
            '{"batching": {"maxSize": 8, "preferredSizes": [16]}}',
            "batching.preferredSizes is [16]: it must be at most maxSize, which is 8",
        ),
        (
            '{"versions": "latest"}',
            'versions is "latest": it must be one of {"latest": 1}, {"specific": [1, 3]} and "all"',
        ),
        ('{"versions": {"latest": 1, "specific": [1]}}', "it must be one of"),
        ('{"versions": {"latest": 0}}', "versions.latest is 0: it must be a whole number from 1 to 1000"),
        ('{"versions": {"specific": []}}', "versions.specific is []: it must be a list of at least one version"),
        ('{"warmup": {"runs": -1}}', "warmup.runs is -1: it must be a whole number from 0 to 1000"),
        ('{"warmup": {"requests": "../secret"}}', 'warmup.requests is "../secret": it must be the name of a file in'),
        ('{"file": ".."}', 'file is "..": it must be the name of a file in the model\'s directory, without a path'),
        ('{"file": ""}', "it must be the name of a file"),
        ('{"labels": {"y": "cat"}}', 'labels.y is "cat": it must be a list of labels'),
        ('{"labels": {"y": ["cat", 1]}}', "labels.y[1] is 1: it must be a string that is not empty"),
        ('{"inputs": [{"name": "x", "datatype": "FP32"}]}', "inputs[0] has no shape: a tensor has name, datatype and"),
        (
            '{"inputs": [{"name": "x", "datatype": "float", "shape": []}]}',
            'inputs[0].datatype is "float": it must be one of BOOL, UINT8',
        ),
        (
            '{"inputs": [{"name": "x", "datatype": "FP32", "shape": [-2]}]}',
            "inputs[0].shape[0] is -2: it must be a whole number from -1",
        ),
        (
            '{"outputs": [%s, %s]}' % (('{"name": "x", "datatype": "FP32", "shape": []}',) * 2),
            "outputs[1]: the name 'x' stands twice in mooring.json: outputs",
        ),
        ('{"outputs": [{"name": "x", "dims": []}]}', "outputs[0] has no key 'dims': it may have name, datatype, shape"),
    ],
)
def test_what_is_wrong_is_told_with_its_place(text: str, words: str) -> None:
    with pytest.raises(ModelInvalid) as caught:
        config.parse(text, "mooring.json")
    assert words in str(caught.value)


def test_the_file_is_named_whole(tmp_path: Path) -> None:
    assert config.read(tmp_path) is None
    file = tmp_path / "mooring.json"
    file.write_text('{"warmup": {"runs": 2000}}')
    with pytest.raises(ModelInvalid) as caught:
        config.read(tmp_path)
    assert str(caught.value) == f"{file}: warmup.runs is 2000: it must be a whole number from 0 to 1000"
    with file.open("wb") as stream:
        stream.truncate(config.LIMIT + 1)
    with pytest.raises(ModelInvalid, match="has 16777217 bytes: it may have 16777216"):
        config.read(tmp_path)


@pytest.mark.parametrize(
    ("policy", "chosen"),
    [
        (VersionPolicy(), [10]),
        (VersionPolicy(latest=2), [3, 10]),
        (VersionPolicy(latest=None), [1, 3, 10]),
        (VersionPolicy(specific=(1, 10)), [1, 10]),
    ],
)
def test_versions_are_chosen(policy: VersionPolicy, chosen: list[int]) -> None:
    assert policy.choose([10, 1, 3]) == chosen


def test_a_version_that_is_not_there_is_told() -> None:
    words = "version 2 is asked for by the version policy, but there are 1, 3"
    with pytest.raises(ModelNotFound, match=words):
        VersionPolicy(specific=(1, 2)).choose([3, 1])
    with pytest.raises(ModelNotFound, match="but there is only 1"):
        VersionPolicy(specific=(2,)).choose([1])


def test_the_settings_win() -> None:
    own = ModelConfig(max_batch=32, max_delay=0.002, preferred=(8, 16, 32), warmup=7)
    assert own.under(ServeSettings()) == own
    changed = own.under(ServeSettings(batch_max_size=16, batch_max_delay=0.0, warmup=0))
    assert changed == ModelConfig(max_batch=16, max_delay=0.0, preferred=(8, 16), warmup=0)
    assert own.under(ServeSettings(batch_preferred=(4, 64))).preferred == (4,)
    assert own.under(ServeSettings(batch_max_size=1)).preferred == ()
