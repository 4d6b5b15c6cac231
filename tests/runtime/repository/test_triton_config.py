import json
from typing import Any

import pytest

from mooring_runtime.errors import ModelInvalid
from mooring_runtime.messages import ModelMetadata, StatePair, StateSchema, TensorSpec, Traits
from mooring_runtime.repository.config import ModelConfig, VersionPolicy
from mooring_runtime.repository.triton_config import IGNORED, parse, render

BASE = ModelConfig(max_batch=4, labels={"y": ("a", "b")})


def said(document: object) -> ModelConfig:
    return parse(json.dumps(document), "m", BASE)


def test_what_is_acted_on() -> None:
    found = said(
        {
            "name": "m",
            "max_batch_size": 16,
            "dynamic_batching": {"preferred_batch_size": [8, 4], "max_queue_delay_microseconds": 500},
            "version_policy": {"specific": {"versions": [2, 1]}},
            "default_model_filename": "best.onnx",
            "input": [{"name": "x", "data_type": "TYPE_FP32", "dims": [3]}],
            "output": [{"name": "y", "data_type": "TYPE_STRING", "dims": [-1]}],
        }
    )
    assert (found.max_batch, found.preferred, found.max_delay) == (16, (4, 8), 0.0005)
    assert found.versions == VersionPolicy(specific=(1, 2))
    assert found.file == "best.onnx"
    assert [(each.name, each.datatype, each.shape) for each in found.inputs] == [("x", "FP32", (-1, 3))]
    assert [(each.name, each.datatype, each.shape) for each in found.outputs] == [("y", "BYTES", (-1, -1))]
    assert found.labels == BASE.labels


def test_protobufs_own_json_is_read_too() -> None:
    found = said({"maxBatchSize": "12", "versionPolicy": {"latest": {"numVersions": 2}}, "dynamicBatching": {}})
    assert (found.max_batch, found.versions) == (12, VersionPolicy(latest=2))
    assert said({"version_policy": {"all": {}}}).versions == VersionPolicy(latest=None)
    assert said({"version_policy": {}}).versions == VersionPolicy()
    assert said({"max_batch_size": 0, "input": [{"name": "x", "data_type": "TYPE_INT8", "dims": ["2"]}]}).inputs[
        0
    ].shape == (2,)


def test_what_is_ignored_changes_nothing() -> None:
    assert said({key: {"anything": [1]} for key in IGNORED}) == BASE
    assert said({"dynamic_batching": {"preserve_ordering": True}}) == BASE


def test_a_model_with_state_is_told_as_one_of_sequences_and_may_be_told_back() -> None:
    pairs = (
        StatePair("h_in", "h_in", "h_out", "FP32", (1, 8), axis=1),
        StatePair("past", "past", "present", "INT64", (2, -1), axis=None),
    )
    spec = TensorSpec("x", "FP32", (-1, 2))
    metadata = ModelMetadata("m", "1", "onnxruntime_onnx", (spec,), (spec,), Traits(state=StateSchema(pairs)))
    document = render(BASE, metadata, "CPU")
    assert "dynamic_batching" not in document
    assert document["sequence_batching"] == {
        "max_sequence_idle_microseconds": 0,
        "state": [
            {"input_name": "h_in", "output_name": "h_out", "data_type": "TYPE_FP32", "dims": [8]},
            {"input_name": "past", "output_name": "present", "data_type": "TYPE_INT64", "dims": [2, -1]},
        ],
    }
    assert said({"sequence_batching": document["sequence_batching"]}) == BASE


@pytest.mark.parametrize(
    ("document", "words"),
    [
        ([], "config is []: it must be a JSON object"),
        ({"name": "n"}, "config: name is \"n\": it must be 'm', the name of the model that is loaded, or be left out"),
        ({"max_batch_size": -1}, "config: max_batch_size is -1: it must be a whole number from 0 to 4096"),
        ({"max_batch_size": "many"}, 'config: max_batch_size is "many": it must be a whole number'),
        (
            {"sequence_batching": {"max_sequence_idle_microseconds": 5}},
            "config: sequence_batching.max_sequence_idle_microseconds is not supported: leave",
        ),
        ({"ensemble_scheduling": {"step": [{"model_name": "a"}]}}, "config: ensemble_scheduling is not supported"),
        (
            {"responseCache": {"enable": True}},
            "config: responseCache is not supported: leave it out; config may have name",
        ),
        ({"model_warmup": [{"name": "x"}]}, "config: model_warmup is not supported"),
        (
            {"dynamic_batching": {"priority_levels": 3}},
            "config: dynamic_batching.priority_levels is not supported: leave it out; config: dynamic_batching may",
        ),
        ({"version_policy": {"latest": {}, "all": {}}}, "version_policy is {"),
        (
            {"version_policy": {"specific": {"versions": []}}},
            "version_policy.specific.versions is []: it must be a list of",
        ),
        ({"version_policy": {"latest": {"num_versions": 0}}}, "version_policy.latest.num_versions is 0: it must be"),
        ({"default_model_filename": "a/b"}, 'default_model_filename is "a/b": it must be the name of a file'),
        (
            {"input": [{"name": "x", "data_type": "FP32", "dims": [1]}]},
            'input[0].data_type is "FP32": it must be one of TY',
        ),
        ({"input": [{"name": "x", "data_type": "TYPE_FP32"}]}, "input[0].dims is null: it must be a list of sizes"),
        ({"output": [{"label_filename": "labels.txt"}]}, "config: output[0].label_filename is not supported"),
    ],
)
def test_everything_else_is_refused_by_name(document: object, words: str) -> None:
    with pytest.raises(ModelInvalid) as caught:
        said(document)
    assert words in str(caught.value)


def metadata(traits: Traits = Traits()) -> ModelMetadata:  # noqa: B008 - immutable
    inputs = (TensorSpec("x", "FP32", (-1, 3)), TensorSpec("t", "BYTES", (-1, 1)))
    return ModelMetadata("m", "2", "onnxruntime_onnx", inputs, (TensorSpec("y", "INT64", (-1,)),), traits)


def test_a_model_that_batches_is_told_as_triton_does() -> None:
    config = ModelConfig(preferred=(4, 8), max_delay=0.002, versions=VersionPolicy(specific=(2,)), file="a.onnx")
    assert render(config, metadata(Traits(max_batch=8)), "CPU") == {
        "name": "m",
        "platform": "onnxruntime_onnx",
        "backend": "onnxruntime",
        "version_policy": {"specific": {"versions": [2]}},
        "max_batch_size": 8,
        "input": [
            {"name": "x", "data_type": "TYPE_FP32", "dims": [3]},
            {"name": "t", "data_type": "TYPE_STRING", "dims": [1]},
        ],
        "output": [{"name": "y", "data_type": "TYPE_INT64", "dims": []}],
        "instance_group": [{"name": "m", "kind": "KIND_CPU", "count": 1, "gpus": []}],
        "default_model_filename": "a.onnx",
        "parameters": {},
        "model_transaction_policy": {"decoupled": False},
        "response_cache": {"enable": False},
        "dynamic_batching": {"preferred_batch_size": [4, 8], "max_queue_delay_microseconds": 2000},
    }


def test_a_model_that_does_not_batch_has_whole_shapes() -> None:
    found: dict[str, Any] = render(ModelConfig(), metadata(Traits(max_batch=1)), "cuda:0")
    assert (found["max_batch_size"], found["input"][0]["dims"]) == (0, [-1, 3])
    assert "dynamic_batching" not in found
    assert found["instance_group"][0]["kind"] == "KIND_GPU"
    assert found["version_policy"] == {"latest": {"num_versions": 1}}


def test_what_is_told_may_be_sent_back() -> None:
    config = ModelConfig(max_batch=8, preferred=(4, 8), max_delay=0.002, versions=VersionPolicy(latest=None))
    told = render(config, metadata(Traits(max_batch=8)), "CPU")
    found = parse(json.dumps(told), "m", ModelConfig())
    assert (found.max_batch, found.preferred, found.max_delay, found.versions) == (8, (4, 8), 0.002, config.versions)
    assert found.inputs[0].shape == (-1, 3)
