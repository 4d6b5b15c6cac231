"""Which of a model's tensors are its state."""

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mooring_runtime.errors import ModelInvalid
from mooring_runtime.messages import DATATYPES, Array, ModelMetadata, StatePair, StateSchema, TensorSpec, Traits
from mooring_runtime.repository.state import Shown, find, with_initial
from mooring_runtime.repository.state_config import UNSAID, PairConfig, StateConfig, WindowConfig

Specs = dict[str, tuple[int, ...]]

DECLARED = StateConfig()


def model(inputs: Specs, outputs: Specs, **datatypes: str) -> ModelMetadata:
    specs = [
        tuple(TensorSpec(name, datatypes.get(name, "FP32"), shape) for name, shape in each.items())
        for each in (inputs, outputs)
    ]
    return ModelMetadata("m", "1", "onnx", specs[0], specs[1])


def pairs(found: Shown) -> dict[str, str]:
    return {pair.input: pair.output for pair in found.pairs}


def recurrent(taken: str, given: str) -> ModelMetadata:
    return model({"x": (-1, 4), taken: (-1, 8)}, {"y": (-1, 2), given: (-1, 8)})


@pytest.mark.parametrize(
    ("taken", "given"),
    [
        ("state_in", "state_out"),
        ("state_in_lstm", "state_out_lstm"),
        ("past_0", "present_0"),
        ("past.3.value", "present.3.value"),
        ("past_key_values.0.key", "present.0.key"),
        ("past_key_values.0.key", "present_key_values.0.key"),
        ("past_key_values_7", "present_7"),
        ("h_in", "h_out"),
        ("c1_in", "c1_out"),
    ],
)
def test_pairs_by_name(taken: str, given: str) -> None:
    found = find(recurrent(taken, given), UNSAID)
    assert found.pairs == (StatePair(taken, taken, given, "FP32", (1, 8), 0),)
    assert [spec.name for spec in found.inputs] == ["x"]
    assert [spec.name for spec in found.outputs] == ["y"]


@pytest.mark.parametrize(
    ("taken", "given"),
    [
        ("x_in", "x_out"),
        ("statein", "stateout"),
        ("state", "stateN"),
        ("path_in", "path_out"),
        ("state_in_", "state_out_"),
    ],
)
def test_other_names_say_nothing(taken: str, given: str) -> None:
    found = find(recurrent(taken, given), UNSAID)
    assert found.pairs == ()
    assert [spec.name for spec in found.inputs] == ["x", taken]


def test_pairs_whose_names_sort_differently_are_not_crossed() -> None:
    # All have the same shape, so that states which are crossed would be seen by nobody.
    said = {"a_in": "z_out", "b_in": "m_out", "c_in2": "a_out"}
    inputs: Specs = {"x": (-1, 4), **dict.fromkeys(sorted(said), (-1, 8))}
    outputs: Specs = {"y": (-1, 4), **dict.fromkeys(sorted(said.values()), (-1, 8))}
    config = StateConfig(tuple(PairConfig(taken, given) for taken, given in said.items()))
    assert pairs(find(model(inputs, outputs), config)) == said


@given(st.permutations(["10", "2", "a", "A_b", "key.0", "key.10", "key.2"]), st.randoms())
def test_the_order_of_tensors_says_nothing(names: list[str], random: object) -> None:
    backwards = list(reversed(names))
    inputs: Specs = {**{f"state_in_{name}": (-1, 8) for name in names}, "x": (-1, 4)}
    outputs: Specs = {"y": (-1, 4), **{f"state_out_{name}": (-1, 8) for name in backwards}}
    found = find(model(inputs, outputs), UNSAID)
    assert pairs(found) == {f"state_in_{name}": f"state_out_{name}" for name in names}
    assert [pair.name for pair in found.pairs] == sorted(f"state_in_{name}" for name in names)
    other = find(model(dict(reversed(inputs.items())), outputs), UNSAID)
    assert StateSchema(found.pairs).fingerprint == StateSchema(other.pairs).fingerprint


@pytest.mark.parametrize(
    ("inputs", "outputs", "words"),
    [
        (
            {"state_in_b": (-1, 8)},
            {"state_out_c": (-1, 8)},
            "model 'm': its state has halves: input 'state_in_b' has no output 'state_out_b'; output 'state_out_c' has "
            "no input of a state that it would be the next of. Rename them, declare the pairs as state.pairs in "
            'mooring.json, or say "state": false there if clients carry the state',
        ),
        (
            {"h_in": (-1, 8), "c_in": (-1, 8)},
            {"h_out": (-1, 8)},
            "input 'c_in' has no output 'c_out'",
        ),
        ({"h_in": (-1, 8)}, {"h_out": (-1, 8), "present.0.key": (-1, 8)}, "output 'present.0.key' has no input"),
        (
            {"past_key_values.0": (-1, 8)},
            {"present.0": (-1, 8), "present_key_values.0": (-1, 8)},
            "input 'past_key_values.0' may belong to the outputs present.0, present_key_values.0: declare state.pairs",
        ),
        (
            {"past_key_values.0": (-1, 8), "past.0": (-1, 8)},
            {"present.0": (-1, 8)},
            "output 'present.0' belongs to the inputs 'past_key_values.0', 'past.0': declare state.pairs",
        ),
        (
            {"h_in": (-1, 8), "c_in": (-1, 9)},
            {"h_out": (-1, 4), "c_out": (-1, 8, 1)},
            "input 'h_in' is FP32 [-1, 8], output 'h_out' is FP32 [-1, 4]: the shapes of a pair must agree; "
            "input 'c_in' is FP32 [-1, 9], output 'c_out' is FP32 [-1, 8, 1]: the shapes of a pair must agree",
        ),
    ],
)
def test_what_is_wrong_with_pairs_by_name_is_told(inputs: Specs, outputs: Specs, words: str) -> None:
    with pytest.raises(ModelInvalid, match=re.escape(words)):
        find(model({"x": (-1, 4), **inputs}, {"y": (-1, 4), **outputs}), UNSAID)


def test_datatypes_must_be_the_same() -> None:
    metadata = model({"x": (-1, 4), "h_in": (-1, 8)}, {"y": (-1, 4), "h_out": (-1, 8)}, h_out="FP16")
    words = "input 'h_in' is FP32 [-1, 8], output 'h_out' is FP16 [-1, 8]: the datatypes of a pair must be the same"
    with pytest.raises(ModelInvalid, match=re.escape(words)):
        find(metadata, UNSAID)


def test_halves_that_may_mean_something_else_are_the_clients() -> None:
    # A model of time series takes the past; a decoder's first pass gives the present and takes none.
    assert find(model({"past_values": (-1, 30)}, {"y": (-1, 4)}), UNSAID).pairs == ()
    assert find(model({"x": (-1, 4)}, {"y": (-1, 4), "present.0.key": (-1, 8)}), UNSAID).pairs == ()
    with pytest.raises(ModelInvalid, match="input 'past_values' has no output"):
        find(model({"past_values": (-1, 30)}, {"y": (-1, 4)}), DECLARED)


@pytest.mark.parametrize(
    ("said", "words"),
    [
        (DECLARED, "mooring.json has state, but no pairs, and no names of tensors tell any; declare state.pairs. Its"),
        (
            StateConfig((PairConfig("a", "b"), PairConfig("a", "y"))),
            "state.pairs of mooring.json: it has no input 'a'; its inputs are 'x', 'sr'; input 'a' stands in 2 pairs; "
            "it has no output 'b'; its outputs are 'y', 'z'",
        ),
        (StateConfig((PairConfig("x", "y"), PairConfig("sr", "y"))), "output 'y' stands in 2 pairs"),
        (StateConfig((PairConfig("x", "y", 1, True),)), "axis 1 must be free (-1) in both, or null"),
        (StateConfig((PairConfig("x", "y", 2, True),)), "axis 2 must be free (-1) in both, or null"),
        (StateConfig(windows=(WindowConfig("a", 1),)), "'a' is no input that clients send; those are 'x', 'sr'"),
        (StateConfig(windows=(WindowConfig("x", 4),)), "'x' has 4 elements, so that fewer than 4 can be kept, not 4"),
        (StateConfig(windows=(WindowConfig("x", 1), WindowConfig("x", 2))), "'x' stands there twice"),
        (StateConfig(windows=(WindowConfig("sr", 1),)), "'sr' is FP32 []: a window needs numbers and an axis"),
        (
            StateConfig((PairConfig("x", "y", 0, True),), (WindowConfig("x", 1),)),
            "'x' is no input that clients send; those are 'sr'",
        ),
    ],
)
def test_what_is_wrong_with_a_declaration_is_told(said: StateConfig, words: str) -> None:
    with pytest.raises(ModelInvalid, match=re.escape(words)):
        find(model({"x": (-1, 4), "sr": ()}, {"y": (-1, 4), "z": (-1, 2)}), said)


@pytest.mark.parametrize(
    ("shape", "next_shape", "others", "kept", "axis"),
    [
        # The sessions' axis is the one that is free in both, where everything else is batch-first.
        ((-1, 8), (-1, 8), (-1, 4), (1, 8), 0),
        ((2, -1, 8), (2, -1, 8), (-1, 4), (1, 2, 8), 1),
        ((2, -1, 8), (-1, -1, -1), (-1, 4), (1, 2, 8), 1),
        ((2, -1, -1), (2, -1, 8), (-1, 4), (1, 2, 8), 1),
        ((2, -1, 8), (), (-1, 4), (1, 2, 8), 1),
        # A cache grows along another, and begins with nothing.
        ((-1, 2, -1, 8), (-1, 2, -1, 8), (-1, 4), (1, 2, -1, 8), 0),
        # No batch anywhere.
        ((8,), (8,), (4,), (8,), None),
        ((1, 2, -1, 8), (1, 2, -1, 8), (1, 4), (1, 2, -1, 8), None),
        # The model takes many samples, and one state.
        ((1, 8), (1, 8), (-1, 4), (1, 8), None),
        ((), (), (-1, 4), (), None),
    ],
)
def test_the_axis_of_the_sessions(
    shape: tuple[int, ...],
    next_shape: tuple[int, ...],
    others: tuple[int, ...],
    kept: tuple[int, ...],
    axis: int | None,
) -> None:
    found = find(model({"x": others, "h_in": shape}, {"y": others, "h_out": next_shape}), UNSAID)
    [pair] = found.pairs
    assert (pair.shape, pair.axis) == (kept, axis)
    schema = StateSchema(found.pairs)
    told = ModelMetadata("m", "1", "onnx", found.inputs, found.outputs, Traits(state=schema))
    assert bool(told.max_batch) == (axis is not None)
    assert schema.grows == (-1 in kept)
    assert pair.first(np.dtype(np.float32)).shape == tuple(max(size, 0) for size in kept)


@pytest.mark.parametrize(
    ("shape", "others"),
    [
        ((2, -1, 8), {"x": (-1, 4), "sr": ()}),  # Free for the sessions, or as a size that grows?
        ((2, -1, -1), {"x": (-1, 4)}),
    ],
)
def test_an_axis_that_cannot_be_told_must_be_said(shape: tuple[int, ...], others: Specs) -> None:
    metadata = model({**others, "h_in": shape}, {"y": (-1, 4), "h_out": shape})
    with pytest.raises(ModelInvalid, match="may be the sessions' or a size that grows: say which is the sessions'"):
        find(metadata, UNSAID)
    [pair] = find(metadata, StateConfig((PairConfig("h_in", "h_out", 1, True),))).pairs
    assert (pair.shape, pair.axis) == ((1, 2, shape[2]), 1)
    [pair] = find(metadata, StateConfig((PairConfig("h_in", "h_out", None, True),))).pairs
    assert (pair.shape, pair.axis) == (shape, None)


def test_windows_are_state_and_clients_send_the_rest() -> None:
    said = StateConfig(windows=(WindowConfig("samples", 64),))
    found = find(model({"samples": (-1, -1), "x": (-1, 4)}, {"y": (-1, 4)}), said)
    name = "samples.window"
    assert found.pairs == (StatePair(name, "samples", name, "FP32", (1, 64), 0, window=64),)
    assert [spec.shape for spec in found.inputs] == [(-1, -1), (-1, 4)]
    fixed = find(model({"samples": (2, 576)}, {"y": (4,)}), said)
    assert [(pair.shape, pair.axis) for pair in fixed.pairs] == [((2, 64), None)]
    assert [spec.shape for spec in fixed.inputs] == [(2, 512)]
    alone = find(model({"samples": (-1,)}, {"y": (4,)}), said)
    assert [(pair.shape, pair.axis) for pair in alone.pairs] == [((64,), None)]
    with pytest.raises(ModelInvalid, match="only its first and its last size may be free"):
        find(model({"samples": (-1, -1, 100)}, {"y": (4,)}), said)


@pytest.mark.parametrize(
    ("datatype", "shape", "value"),
    [
        ("INT64", (), 16000),
        ("FP32", (2,), [0.5, 0.1]),
        ("BOOL", (), True),
        ("FP16", (), 1),
        ("UINT8", (1, 2), [[1, 2]]),
    ],
)
def test_constants_are_sent_by_nobody(datatype: str, shape: tuple[int, ...], value: object) -> None:
    metadata = model({"x": (-1, 4), "k": shape, "h_in": (2, -1, 8)}, {"y": (-1, 4), "h_out": (2, -1, 8)}, k=datatype)
    found = find(metadata, StateConfig(constants={"k": value}))
    assert [spec.name for spec in found.inputs] == ["x"]
    constant = found.constants["k"]
    assert (constant.dtype, constant.shape) == (DATATYPES[datatype].dtype, shape)
    np.testing.assert_array_equal(constant, np.array(value, constant.dtype))
    # All that clients send is batch-first now, and so the axis is no question.
    assert [pair.axis for pair in found.pairs] == [1]


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("k", 1.5, "'k' is 1.5: the model takes INT64 []"),
        ("k", [1], "'k' is [1]: the model takes INT64 []"),
        ("k", "1", "'k' is '1': the model takes INT64 []"),
        ("k", None, "'k' is None: the model takes INT64 []"),
        ("k", {}, "'k' is {}: the model takes INT64 []"),
        ("k", 2**70, "'k' is 1180591620717411303424: the model takes INT64 []"),
        ("x", [1], "'x' is FP32 [-1, 4]: a constant is of numbers, and has no size that is free"),
        ("h_in", 1, "'h_in' is no input that clients send; the inputs are 'x', 'k', 'h_in'"),
        ("z", 1, "'z' is no input that clients send"),
    ],
)
def test_constants_that_cannot_be_are_told(name: str, value: object, words: str) -> None:
    metadata = model({"x": (-1, 4), "k": (), "h_in": (-1, 8)}, {"y": (-1, 4), "h_out": (-1, 8)}, k="INT64")
    with pytest.raises(ModelInvalid, match=re.escape(f"model 'm': state.constants of mooring.json: {words}")):
        find(metadata, StateConfig(constants={name: value}))


def test_names_that_stand_for_two_tensors_are_told() -> None:
    said = StateConfig(windows=(WindowConfig("x", 2),))
    with pytest.raises(ModelInvalid, match=r"the name 'x.window' stands for a state and for another tensor"):
        find(model({"x": (-1, 4), "x.window": (-1, 4)}, {"y": (-1, 4)}), said)
    with pytest.raises(ModelInvalid, match=r"the name 'x.window' stands for a state and for another tensor"):
        find(model({"x": (-1, 4)}, {"x.window": (-1, 4)}), said)


def test_a_class_and_the_file_cannot_both_declare_pairs() -> None:
    own = (StatePair("s", "s", "s", "FP32", (8,), None),)
    metadata = model({"x": (4,), "s": (8,)}, {"y": (4,), "s": (8,)})
    assert find(metadata, UNSAID, own).pairs == own
    with pytest.raises(ModelInvalid, match=r"its class declares the state 's', and mooring.json has state.pairs"):
        find(metadata, StateConfig((PairConfig("s", "s"),)), own)


def test_the_fingerprint_is_of_what_is_kept() -> None:
    def fingerprint(shape: tuple[int, ...] = (-1, 8), version: str = "", **datatypes: str) -> str:
        metadata = model({"x": (-1, 4), "h_in": shape}, {"y": (-1, 4), "h_out": shape}, **datatypes)
        return StateSchema(find(metadata, UNSAID).pairs, version).fingerprint

    # It stands on disk beside every state: never let this change.
    assert fingerprint() == "001a98acc310e9d4192b6571e83097d6"
    assert fingerprint((8, -1)) == fingerprint()  # Where the axis was says nothing of what is kept.
    others = [fingerprint((-1, 9)), fingerprint(version="2"), fingerprint(h_in="FP64", h_out="FP64")]
    assert len({fingerprint(), *others}) == 4


PAIR = StatePair("h", "h", "h2", "FP32", (1, 2, 3), 1)


@pytest.mark.parametrize("shape", [(2, 1, 3), (2, 3)])
def test_first_values_come_in_the_models_own_shape(shape: tuple[int, ...]) -> None:
    array = np.arange(6, dtype=np.float32).reshape(shape)
    first = with_initial(PAIR, array, "h0.npy").initial
    assert first is not None
    assert first.tolist() == [[[0, 1, 2], [3, 4, 5]]]
    assert first.flags.c_contiguous
    assert not first.flags.writeable


@pytest.mark.parametrize(
    ("array", "found"),
    [
        (np.zeros((2, 1, 3)), "float64 [2, 1, 3]"),
        (np.zeros((2, 2, 3), np.float32), "float32 [2, 2, 3]"),
        (np.zeros((1, 3), np.float32), "float32 [1, 3]"),
        (np.zeros((), np.float32), "float32 []"),
    ],
)
def test_first_values_that_do_not_fit_are_told(array: Array, found: str) -> None:
    words = f"h0.npy is {found}: the state 'h' begins with float32 [2, 1, 3]"
    with pytest.raises(ModelInvalid, match=re.escape(words)):
        with_initial(PAIR, array, "h0.npy")
