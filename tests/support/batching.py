"""Jobs, models and a batcher for tests of scheduling: no front end, no framework."""

import asyncio
import threading
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence

import numpy as np

from mooring_runtime.messages import Array, ModelMetadata, Parameter, TensorSpec, Traits
from mooring_runtime.metrics import ModelStats
from mooring_runtime.scheduling import Batcher, Batching, Job, Run, RunTimes

Outcome = list[Array] | Exception | None


class TestJob(Job):
    """A request of `rows` samples of the value `value`; `done` gets its outcome, `parts` the answers before it."""

    __test__ = False

    def __init__(self, value: float = 0.0, rows: int = 1, like: Hashable = (), width: int = 2) -> None:
        self.feeds = {"x": np.full((rows, width), value, np.float32)}
        self.outputs = ("y",)
        self.rows, self.like, self.size, self.arrived = rows, like, self.feeds["x"].nbytes, 0.0
        self.parts: list[list[Array]] = []
        self.outcome: Outcome = None
        self.ended = asyncio.Event()

    def land(self, results: list[Array], run: Run) -> None:
        self.outcome = results
        self.ended.set()

    def part(self, results: list[Array]) -> None:
        self.parts.append(results)

    def fail(self, error: Exception | None) -> None:
        self.outcome = error
        self.ended.set()

    @property
    def value(self) -> float:
        """Of the only element that all of the answer has."""
        assert isinstance(self.outcome, list), self.outcome
        [array] = self.outcome
        assert array.shape[0] == self.rows
        assert (array == array.flat[0]).all()
        return float(array.flat[0])


class Doubler:
    """Doubles its input; keeps the sizes of its runs. `gate` holds the runs back, `refuses` makes some fail."""

    arena = None

    def __init__(self) -> None:
        self.sizes: list[int] = []
        self.threads: list[str] = []
        self.begun = threading.Semaphore(0)
        self.gate = threading.Semaphore(1_000_000)
        self.refuses: Callable[[Array], bool] = lambda array: False

    def infer(self, inputs: Mapping[str, Array], outputs: Sequence[str]) -> list[Array]:
        array = inputs["x"]
        self.sizes.append(array.shape[0])
        self.threads.append(threading.current_thread().name)
        self.begun.release()
        assert self.gate.acquire(timeout=1)
        if self.refuses(array):
            raise ValueError("refused")
        return [array * 2]

    def stream(
        self, inputs: Mapping[str, Array], outputs: Sequence[str], parameters: Mapping[str, Parameter]
    ) -> Iterator[list[Array]]:
        for _ in range(int(parameters.get("count", 1))):
            yield self.infer(inputs, outputs)


class Fixed(RunTimes):
    """Every run belongs on the loop, or every one on the thread; a run costs what `curve` was told."""

    def __init__(self, *, inline: bool) -> None:
        super().__init__()
        self._inline = inline

    def inline(self, size: int) -> bool:
        return self._inline


def model(most: int | None = 8, traits: Traits | None = None) -> ModelMetadata:
    """A model whose runs take `most` samples."""
    traits = traits or Traits(max_batch=most)
    return ModelMetadata(
        "m", "1", "p", (TensorSpec("x", "FP32", (-1, -1)),), (TensorSpec("y", "FP32", (-1, -1)),), traits
    )


def batcher(
    runner: Doubler,
    *,
    inline: bool = True,
    metadata: ModelMetadata | None = None,
    batching: Batching = Batching(),  # noqa: B008 - immutable
) -> tuple[Batcher, ModelStats]:
    """A batcher on the running loop, and its numbers."""
    stats = ModelStats("m", "1")
    made = Batcher(runner, metadata or model(), stats, batching=batching, times=Fixed(inline=inline))
    return made, stats
