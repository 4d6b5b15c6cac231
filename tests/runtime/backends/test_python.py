"""A model in Python: how its class is found, told what it needs, run and closed, and what its faults become."""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mooring_runtime.backends.base import Backend, LoadOptions, loader
from mooring_runtime.errors import InferenceFailed, ModelInvalid, ModelRefused, UnsafeFormat
from mooring_runtime.messages import NONE, TensorSpec

HEAD = "import numpy as np\n"
SUM = """
class Model:
    inputs = {"x": ("FP32", [-1, 2])}
    outputs = {"sum": ("FP32", [-1])}

    def predict(self, inputs):
        return {"sum": inputs["x"].sum(axis=1)}
"""


def load(directory: Path, code: str, **more: Any) -> Backend:
    file = directory / "model.py"
    file.write_text(HEAD + code)
    return loader("python")(file, LoadOptions("m", "3", 1, **{"allow_unsafe": True} | more))


def body(lines: str, signature: str = "self, inputs", more: str = "") -> str:
    """A class whose `predict` has these lines."""
    text = "".join(f"        {line}\n" for line in lines.splitlines())
    head = 'class Model:\n    inputs = {"x": ("FP32", [-1, 2])}\n    outputs = {"y": ("FP32", [-1, 2])}\n'
    return f"{head}{more}    def predict({signature}):\n{text}"


X = np.array([[1, 2], [3, 4]], np.float32)


def run(backend: Backend, *outputs: str) -> list[Any]:
    return [array.tolist() for array in backend.infer({"x": X}, outputs or ("y",))]


def test_a_class_is_served(tmp_path: Path) -> None:
    backend = load(tmp_path, SUM)
    assert backend.infer({"x": X}, ["sum"])[0].tolist() == [3, 7]
    metadata = backend.metadata
    assert (metadata.name, metadata.version, metadata.platform) == ("m", "3", "python")
    assert metadata.inputs["x"].shape == (-1, 2)
    assert (metadata.max_batch, metadata.decoupled, metadata.takes_parameters) == (0, False, False)
    assert backend.device == "CPU"


def test_it_is_off_unless_it_is_allowed(tmp_path: Path) -> None:
    marker = tmp_path / "ran"
    with pytest.raises(UnsafeFormat, match=r"model\.py is Python code: .*set MOORING_ALLOW_UNSAFE_FORMATS=true"):
        load(tmp_path, f"open({str(marker)!r}, 'w').close()", allow_unsafe=False)
    assert not marker.exists()


def test_requests_share_a_call_only_where_the_class_says_so(tmp_path: Path) -> None:
    assert (
        load(tmp_path, body("return {'y': inputs['x']}", more="    batch = True\n"), max_batch=8).metadata.max_batch
        == 8
    )
    assert load(tmp_path, body("return {'y': inputs['x']}"), max_batch=8).metadata.max_batch == 0


def test_a_batched_model_must_give_as_many_samples_as_it_got(tmp_path: Path) -> None:
    backend = load(tmp_path, body("return {'y': inputs['x'][:1]}", more="    batch = True\n"))
    with pytest.raises(InferenceFailed, match="gave 1 samples of output 'y' for 2 samples of input"):
        run(backend)


def test_load_is_told_what_it_needs(tmp_path: Path) -> None:
    (tmp_path / "weights.txt").write_text("10")
    code = SUM + (
        "    def load(self, context):\n"
        "        self.told = (context.name, context.version, context.threads, context.accelerator)\n"
        "        assert self.told == ('m', '3', 1, False), self.told\n"
        "        self.device, self.memory = 'cuda:0', int((context.directory / 'weights.txt').read_text())\n"
    )
    backend = load(tmp_path, code, accelerator=False)
    assert (backend.device, backend.memory) == ("cuda:0", 10)


def test_memory_is_that_of_the_files_when_the_model_does_not_tell(tmp_path: Path) -> None:
    (tmp_path / "weights.txt").write_text("10")
    assert load(tmp_path, SUM).memory == 2 + len(HEAD + SUM)


def test_files_beside_it_are_imported_relatively_and_never_shared(tmp_path: Path) -> None:
    backends = []
    for number in (1, 2):
        directory = tmp_path / str(number)
        directory.mkdir()
        (directory / "tools.py").write_text(f"FACTOR = {number}")
        backends.append(load(directory, "from .tools import FACTOR\n" + body("return {'y': inputs['x'] * FACTOR}")))
    assert [run(backend)[0][0] for backend in backends] == [[1, 2], [2, 4]]


def test_a_file_that_is_loaded_again_is_read_again(tmp_path: Path) -> None:
    assert run(load(tmp_path, body("return {'y': inputs['x'] * 1}")))[0][0] == [1, 2]
    assert run(load(tmp_path, body("return {'y': inputs['x'] * 2}")))[0][0] == [2, 4]


def test_what_the_configuration_declares_stands_over_the_class(tmp_path: Path) -> None:
    code = "class Model:\n    def predict(self, inputs):\n        return {'y': inputs['x']}"
    specs = {"inputs": (TensorSpec("x", "FP32", (-1, 2)),), "outputs": (TensorSpec("y", "FP32", (-1, 2)),)}
    backend = load(tmp_path, code, labels={"y": ("a", "b")}, **specs)
    assert run(backend) == [X.tolist()]
    assert backend.metadata.labels == {"y": ("a", "b")}


def test_it_may_write_into_what_it_is_given_and_the_request_stays(tmp_path: Path) -> None:
    backend = load(tmp_path, body("inputs['x'] *= 2\nreturn {'y': inputs['x']}"))
    sent = np.frombuffer(X.tobytes(), np.float32).reshape(2, 2)
    assert backend.infer({"x": sent}, ["y"])[0].tolist() == [[2, 4], [6, 8]]
    assert sent.tolist() == X.tolist()


def test_the_clients_parameters_go_to_a_predict_that_takes_them(tmp_path: Path) -> None:
    backend = load(tmp_path, body("return {'y': inputs['x'] * parameters.get('by', 1)}", "self, inputs, parameters"))
    assert backend.metadata.takes_parameters
    assert run(backend) == [X.tolist()]
    [[y]] = backend.stream({"x": X}, ["y"], {"by": 3})
    assert y.tolist() == (X * 3).tolist()


YIELDS = body("for row in inputs['x']:\n    yield {'y': row[None]}")


def test_a_predict_that_yields_is_decoupled(tmp_path: Path) -> None:
    backend = load(tmp_path, YIELDS)
    assert backend.metadata.decoupled
    assert [reply[0].tolist() for reply in backend.stream({"x": X}, ["y"], NONE)] == [[[1, 2]], [[3, 4]]]
    assert [array.tolist() for array in backend.infer({"x": X[:1]}, ["y"])] == [[[1, 2]]]


@pytest.mark.parametrize(("rows", "found"), [(0, "no reply"), (2, "more than one reply")])
def test_a_decoupled_model_asked_for_one_reply_gives_one_or_fails(tmp_path: Path, rows: int, found: str) -> None:
    with pytest.raises(InferenceFailed, match=f"model 'm' gave {found}: ask it by a method that streams"):
        load(tmp_path, YIELDS).infer({"x": X[:rows]}, ["y"])


def test_a_stream_that_is_left_ends_the_generator(tmp_path: Path) -> None:
    code = "ended = []\n" + body(
        "try:\n    while True:\n        yield {'y': inputs['x']}\nfinally:\n    ended.append(1)"
    )
    backend = load(
        tmp_path, code + "    def load(self, context):\n        self.memory = 5\n        self.ended = ended\n"
    )
    stream: Any = backend.stream({"x": X}, ["y"], NONE)
    next(stream)
    stream.close()
    assert vars(backend)["_model"].ended == [1]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("raise ValueError('no such word')", "model 'm' failed: ValueError: no such word"),
        ("return {'y': inputs['z']}", "model 'm' failed: KeyError: 'z'"),
        ("import sys; sys.exit(7)", "model 'm' failed: SystemExit: 7"),
        ("raise KeyboardInterrupt", "model 'm' failed: KeyboardInterrupt: "),
        ("raise GeneratorExit('x')", "model 'm' failed: GeneratorExit: x"),
        ("return next(iter(()))", "model 'm' failed: StopIteration: "),
    ],
)
def test_whatever_it_raises_fails_the_request_and_is_logged(
    tmp_path: Path, line: str, words: str, caplog: pytest.LogCaptureFixture
) -> None:
    backend = load(tmp_path, body(line))
    with pytest.raises(InferenceFailed) as caught:
        run(backend)
    assert str(caught.value) == words
    assert "in predict" in caplog.text
    assert line.partition(";")[2].strip() in caplog.text


def test_what_it_raises_amid_a_stream_comes_after_the_replies_before(tmp_path: Path) -> None:
    backend = load(tmp_path, body("yield {'y': inputs['x']}\nraise ValueError('gone')"))
    stream = backend.stream({"x": X}, ["y"], NONE)
    assert next(stream)[0].tolist() == X.tolist()
    with pytest.raises(InferenceFailed, match="ValueError: gone"):
        next(stream)


def test_it_can_say_that_the_tensors_are_at_fault(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    code = "from mooring_runtime.errors import ModelRefused\n" + body("raise ModelRefused('too dark')")
    with pytest.raises(ModelRefused, match="too dark"):
        run(load(tmp_path, code))
    assert not caplog.records


def test_close_is_called_and_its_modules_are_forgotten(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "tools.py").write_text("")
    before = set(sys.modules)
    backend = load(tmp_path, "from . import tools\n" + SUM + "    def close(self):\n        raise OSError('stuck')\n")
    assert len(set(sys.modules) - before) == 2
    backend.close()
    assert set(sys.modules) == before
    assert "OSError: stuck" in caplog.text


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("def predict(:", r"model\.py is no Python: line 2: "),
        ("1 / 0", r"model\.py: importing it raised ZeroDivisionError: division by zero"),
        ("import sys; sys.exit('bye')", r"model\.py: importing it raised SystemExit: bye"),
        ("import tools", r"model\.py: importing it raised ModuleNotFoundError: No module named 'tools'"),
        (SUM + "    def __init__(self):\n        raise OSError('no')\n", r"model\.py: Model\(\) raised OSError: no"),
        (
            SUM + "    def load(self, context):\n        raise OSError('no')\n",
            r"Model\.load\(context\) raised OSError: no",
        ),
    ],
)
def test_what_its_code_raises_while_it_is_loaded(
    tmp_path: Path, code: str, words: str, caplog: pytest.LogCaptureFixture
) -> None:
    before = set(sys.modules)
    with pytest.raises(ModelInvalid, match=words):
        load(tmp_path, code)
    assert set(sys.modules) == before
    assert caplog.records[0].exc_info


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("x = 1", r"model\.py has no class; write\s+class Model:"),
        ("from pathlib import Path", r"model\.py has no class; write"),
        ("class Net:\n    pass", r"no class has a method predict, neither of Net; write\s+class Model:"),
        (
            "class A:\n    def predict(self): ...\nclass B(A): ...",
            r"2 classes with a predict \(A, B\): name the one to serve",
        ),
        (
            "class Model:\n    def predict(self, inputs): ...",
            r"Model does not say its inputs, nor does mooring\.json; write",
        ),
        (SUM.replace('("FP32", [-1])', "4"), r"Model\.outputs is \{'sum': 4\}: it must be a dict of name to"),
        (SUM.replace('{"x": ("FP32", [-1, 2])}', "[]"), r"Model\.inputs is \[\]: it must be a dict of name to"),
        (
            SUM.replace('"FP32", [-1, 2]', '"FLOAT", [-1, 2]'),
            r"Model\.inputs: 'x' has datatype 'FLOAT': it must be one of BOOL",
        ),
        (SUM.replace("[-1, 2]", "[-1, -2]"), r"Model\.inputs: 'x' has shape \[-1, -2\]: it must be a list of sizes"),
        (SUM.replace("[-1, 2]", "[True]"), r"Model\.inputs: 'x' has shape \[True\]: it must be"),
        (SUM + "    batch = 4\n", r"Model\.batch is 4: it must be True or False"),
        (
            SUM.replace("[-1])", "[1])") + "    batch = True\n",
            r"batch is True, but 'sum' has shape \[1\]: the first size must be -1",
        ),
        (SUM + "    device = 'the fast one'\n", r"Model\.device is 'the fast one': it must be as in 'cpu' or 'cuda:0'"),
        (SUM + "    memory = '1 GB'\n", r"Model\.memory is '1 GB': it must be a number of bytes"),
        (YIELDS + "    batch = True\n", r"batch is True, but its predict yields answers of one request: remove batch"),
        (SUM.replace("def predict", "async def predict"), r"Model\.predict is async: .* write `def predict`"),
        (
            SUM.replace("(self, inputs)", "(self)"),
            r"Model\.predict takes \['self'\]: write `def predict\(self, inputs\):`",
        ),
        (
            SUM.replace("    def predict(self, inputs)", "    @staticmethod\n    def predict(inputs)"),
            "predict is static or of",
        ),
    ],
)
def test_a_class_that_cannot_be_served_says_what_to_write(tmp_path: Path, code: str, words: str) -> None:
    with pytest.raises(ModelInvalid, match=words):
        load(tmp_path, code)


def test_of_several_classes_the_one_named_model_is_served(tmp_path: Path) -> None:
    base = "class Base:\n    def predict(self, inputs):\n        return {'sum': inputs['x'].sum(axis=1)}\n"
    code = base + SUM.replace("class Model:", "class Model(Base):").partition("    def predict")[0]
    assert load(tmp_path, code).infer({"x": X}, ["sum"])[0].tolist() == [3, 7]
