"""The model of the fault tests computes what the checker computes."""

from pathlib import Path

import numpy as np
import onnxruntime

from tests.faults import ledger


def test_the_model_keeps_the_ledger_that_the_checker_expects(tmp_path: Path) -> None:
    ledger.write(tmp_path, 3)
    session = onnxruntime.InferenceSession(str(tmp_path / "ledger/3/model.onnx"), providers=["CPUExecutionProvider"])
    lines = [[ledger.word(number * 2 + line) for number in range(1, ledger.KEPT + 5)] for line in range(2)]
    right = [ledger.pages(line) for line in lines]
    sizes = {"count": 1, "hash": 2, "words": ledger.KEPT}
    state = {f"state_in_{name}": np.zeros((2, size), np.int64) for name, size in sizes.items()}
    outputs = ["count", "hash", "total", "recent", *(f"state_out_{name}" for name in sizes)]
    for at in range(len(lines[0])):
        feed = {"word": np.array([[line[at]] for line in lines], np.int64), **state}
        count, hashes, total, recent, *after = session.run(outputs, feed)
        state = dict(zip(state, after, strict=True))
        for line in range(2):
            shown = ledger.Page(int(count[line, 0]), tuple(hashes[line]), int(total[line, 0]), tuple(recent[line]))
            assert shown == right[line][at]


def test_no_word_comes_twice() -> None:
    assert len({ledger.word(number) for number in range(1, 100_000)}) == 99_999
    assert min(ledger.word(number) for number in range(1, 1000)) > 0
