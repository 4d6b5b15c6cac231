"""The model of the fault tests: its state is a ledger of everything that was ever sent to it.

Each step carries one word, an integer that nobody else in the run ever sends. The state counts the steps, chains a hash
over their words (integer arithmetic, order-sensitive) and keeps the last words themselves; a reply shows all three. So
what a client is told proves which steps were applied, and in which order.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from onnx import TensorProto, helper, numpy_helper

MODULUS = 2**31 - 1
"""Words and hashes are below it, so that a product of two fits into 63 bits: no runtime need agree on an overflow."""
FACTORS = (1103515245, 1812433253)
SHOWN = 16
"""Words that a reply shows."""
KEPT = 2048
"""Words in the state: 16 KiB, so that a state takes several pages of the store, and a volume is soon full."""
NAME = "ledger"
OPSET = 17


class Page(NamedTuple):
    """What a reply shows of the ledger behind its step."""

    steps: int
    hash: tuple[int, ...]
    total: int
    """Sum of the last `KEPT` words: shows a state that was put together of two."""
    recent: tuple[int, ...]
    """The last `SHOWN` words, the newest at the end; 0 before the first."""


def word(number: int) -> int:
    """The `number`th word of a run, from 1; no two are alike."""
    return number * 48271 % MODULUS


def pages(words: Sequence[int]) -> list[Page]:
    """What the replies to these steps of one session show."""
    hashes = [0] * len(FACTORS)
    total, shown = 0, []
    padded = [0] * SHOWN + list(words)
    for at, each in enumerate(words):
        hashes = [(before * factor + each) % MODULUS for before, factor in zip(hashes, FACTORS, strict=True)]
        total += each - (words[at - KEPT] if at >= KEPT else 0)
        shown.append(Page(at + 1, tuple(hashes), total, tuple(padded[at + 1 : at + 1 + SHOWN])))
    return shown


def page(words: Sequence[int]) -> Page:
    """The last of `pages`."""
    hashes = []
    for factor in FACTORS:
        value = 0
        for each in words:
            value = (value * factor + each) % MODULUS
        hashes.append(value)
    return Page(len(words), tuple(hashes), sum(words[-KEPT:]), tuple(([0] * SHOWN + list(words[-SHOWN:]))[-SHOWN:]))


def write(root: Path, version: int) -> None:
    """Put a version of the model into a repository; all have the same state, and tell their steps alike."""
    folder = root / NAME / str(version)
    folder.mkdir(parents=True)
    temporary = folder / "model.onnx.part"
    temporary.write_bytes(model().SerializeToString())
    temporary.rename(folder / "model.onnx")  # A server that looks now must not find half a file.
    (root / NAME / "mooring.json").write_text(json.dumps({"versions": {"latest": 1}, "batching": {"maxSize": 32}}))


def model() -> Any:
    """The model, as ONNX has it."""

    def tensor(name: str, size: int) -> Any:
        return helper.make_tensor_value_info(name, TensorProto.INT64, ["batch", size])

    constants = {
        "one": [1],
        "modulus": [MODULUS],
        "factors": list(FACTORS),
        "second": [1],
        "shown": [KEPT - SHOWN],
        "end": [KEPT],
        "along": [1],
    }
    nodes = [
        helper.make_node("Add", ["state_in_count", "one"], ["state_out_count"]),
        helper.make_node("Mul", ["state_in_hash", "factors"], ["product"]),
        helper.make_node("Add", ["product", "word"], ["sum"]),
        helper.make_node("Mod", ["sum", "modulus"], ["state_out_hash"]),
        helper.make_node("Slice", ["state_in_words", "second", "end", "along"], ["kept"]),
        helper.make_node("Concat", ["kept", "word"], ["state_out_words"], axis=1),
        helper.make_node("Identity", ["state_out_count"], ["count"]),
        helper.make_node("Identity", ["state_out_hash"], ["hash"]),
        helper.make_node("ReduceSum", ["state_out_words", "along"], ["total"], keepdims=1),
        helper.make_node("Slice", ["state_out_words", "shown", "end", "along"], ["recent"]),
    ]
    state = {"count": 1, "hash": len(FACTORS), "words": KEPT}
    graph = helper.make_graph(
        nodes,
        NAME,
        [tensor("word", 1), *(tensor(f"state_in_{name}", size) for name, size in state.items())],
        [
            *(tensor(name, size) for name, size in (("count", 1), ("hash", 2), ("total", 1), ("recent", SHOWN))),
            *(tensor(f"state_out_{name}", size) for name, size in state.items()),
        ],
        [numpy_helper.from_array(np.array(values, np.int64), name) for name, values in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=9)
