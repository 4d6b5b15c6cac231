"""One run of a model: several requests' tensors put together, the results cut apart again."""

from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from typing import Protocol

import numpy as np

from mooring_runtime.errors import InferenceFailed
from mooring_runtime.messages import Array, Parameter
from mooring_runtime.scheduling.jobs import Job, Run


class Arena(Protocol):
    """States that may be where the model runs, of jobs that keep results; each job has one sample."""

    @property
    def inputs(self) -> tuple[str, ...]:
        """Of the jobs' feeds, those that are states and handed over one by one."""

    @property
    def most(self) -> int:
        """Samples of the largest run."""

    def infer(
        self, inputs: Mapping[str, Array], states: Mapping[str, Sequence[Array]], outputs: Sequence[str], rows: int
    ) -> list[Array]:
        """Run once: the jobs' `states` by input, the other inputs put together; filled up to `rows` samples."""

    def learn(self, outputs: Sequence[str], parts: Sequence[Sequence[Array]]) -> None:
        """What each job was given of the last run's results: those that are states may be handed over again."""

    def blame(self, fault: str) -> None:
        """What went wrong with the last run, which went well in the usual way: there will be no other one here."""

    def makes_room(self, error: Exception) -> bool:
        """A run failed in the usual way: whether it may go well now, because there is no arena any more."""


class Runner(Protocol):
    """What runs: a backend, as far as scheduling knows it."""

    @property
    def arena(self) -> Arena | None:
        """Where states may be; None: nowhere but in the feeds."""

    def infer(self, inputs: Mapping[str, Array], outputs: Sequence[str]) -> list[Array]:
        """Run once."""

    def stream(
        self, inputs: Mapping[str, Array], outputs: Sequence[str], parameters: Mapping[str, Parameter]
    ) -> Iterator[list[Array]]:
        """Run once, for one request, and give each of its answers when it stands."""


class NotPerSample(InferenceFailed):
    """The model's outputs have not one row for each sample, so requests must not share a run."""


class Batch:
    """Jobs that share a run, and how it ended: with `results` for each job, or with `error`."""

    # What most batches have in common is the class's: quicker than slots that each batch fills.
    apart = False
    """For the thread."""
    launched = 0.0
    """When it was handed to the thread, or its last sign of life since then."""
    run = Run(0.0, 0.0, 0.0, 0.0)
    results: Sequence[list[Array]] = ()
    error: Exception | None = None

    def __init__(self, jobs: list[Job]) -> None:
        self.jobs = jobs
        if len(jobs) == 1:
            [job] = jobs
            rows, self.size = job.rows, job.size
        else:
            rows = sum([job.rows for job in jobs])
            self.size = sum([job.size for job in jobs])
        self.rows = self.padded = rows
        """Samples, and those that the run is filled up to."""


def execute(runner: Runner, batch: Batch, clock: Callable[[], float]) -> list[Batch]:
    """Run a batch. Gives it back with its outcome; or, when it has failed, a batch for each of its jobs that has run
    alone and as it came: one request that the model refuses must not fail its neighbours.
    """
    run(runner, batch, clock)
    return [batch] if batch.error is None else repeat(runner, batch, clock)


def repeat(runner: Runner, batch: Batch, clock: Callable[[], float]) -> list[Batch]:
    """What `execute` gives for a batch that has failed."""
    if len(batch.jobs) == 1 and batch.padded == batch.rows:
        return [batch]
    alone = [Batch([job]) for job in batch.jobs]
    for each in alone:
        batch.launched = clock()  # Each is a run of its own to who looks for one that does not end.
        run(runner, each, clock)
    return alone


def run(runner: Runner, batch: Batch, clock: Callable[[], float]) -> None:
    """Run a batch once; it then has results or an error."""
    first = batch.jobs[0]
    arena, fault = runner.arena, None
    if arena is not None and first.keeps_results and batch.padded <= arena.most:
        fault = _run_there(arena, batch, clock)
        if fault is None:
            return
        batch.launched = clock()  # What follows is a run of its own.
    _run_as_ever(runner, batch, clock)
    if arena is None:
        return
    if batch.error is None:
        if fault is not None:
            arena.blame(fault)
    elif arena.makes_room(batch.error):
        batch.error = None
        batch.launched = clock()
        _run_as_ever(runner, batch, clock)


def _run_as_ever(runner: Runner, batch: Batch, clock: Callable[[], float]) -> None:
    """Run a batch once, with its states among what it is given; it then has results or an error."""
    jobs = batch.jobs
    first = jobs[0]
    started = gathered = clock()
    try:
        if len(jobs) == 1 and batch.padded == batch.rows:
            batch.results = (runner.infer(first.feeds, first.outputs),)
            inferred = ended = clock()
        else:
            feeds = _gather(batch, first.feeds)
            gathered = clock()
            results = runner.infer(feeds, first.outputs)
            inferred = clock()
            batch.results = _scatter(batch, results)
            ended = clock()
    except Exception as error:
        batch.error = error
        inferred = ended = clock()
    batch.run = tuple.__new__(Run, (started, gathered - started, inferred - gathered, ended - inferred))


def _run_there(arena: Arena, batch: Batch, clock: Callable[[], float]) -> str | None:
    """Run a batch once where its states may be; it then has results, or what is returned has gone wrong.

    Whatever that is, the batch is to be run in the usual way: what a step is told is not the arena's to say. It is told
    in words, for an exception keeps alive what raised it, and with that the memory that may be missing.
    """
    first = batch.jobs[0]
    started = clock()
    try:
        states = {name: [job.feeds[name] for job in batch.jobs] for name in arena.inputs}
        feeds = _gather(batch, [name for name in first.feeds if name not in states])
        gathered = clock()
        results = arena.infer(feeds, states, first.outputs, batch.padded)
        inferred = clock()
        if batch.padded == 1:  # As in `_run_as_ever`: nobody asks how many samples the outputs have.
            parts: Sequence[list[Array]] = ([each if each.base is None else each.copy() for each in results],)
        else:
            parts = _scatter(batch, results)
        arena.learn(first.outputs, parts)
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    batch.results = parts
    batch.run = Run(started, gathered - started, inferred - gathered, clock() - inferred)
    return None


def _gather(batch: Batch, names: Iterable[str]) -> dict[str, Array]:
    """The jobs' arrays one behind the other, then the last sample again and again up to the padded size."""
    jobs, missing = batch.jobs, batch.padded - batch.rows
    feeds: dict[str, Array] = {}
    for name in names:
        arrays = [job.feeds[name] for job in jobs]
        if missing:
            arrays += [arrays[-1][-1:]] * missing
        feeds[name] = arrays[0] if len(arrays) == 1 else np.concatenate(arrays)
    return feeds


def _scatter(batch: Batch, results: list[Array]) -> list[list[Array]]:
    """Each job's rows of each output, as views; of jobs that keep them as arrays of their own. Raises NotPerSample."""
    jobs = batch.jobs
    for array in results:
        if array.shape[:1] != (batch.padded,):
            raise NotPerSample(f"a run of {batch.padded} samples gave an output of shape {list(array.shape)}")
    keeps = jobs[0].keeps_results  # As all of them or none.
    if len(results) == 1 and batch.rows == len(jobs) and not keeps:  # One sample each, as usual.
        [array] = results
        return [[array[index : index + 1]] for index in range(len(jobs))]
    if batch.rows == len(jobs) and keeps:
        columns = [[row.copy() for row in array[: batch.rows, None]] for array in results]
        return [list(row) for row in zip(*columns, strict=True)]
    parts = []
    begin = 0
    for job in jobs:
        end = begin + job.rows
        rows = [array[begin:end] for array in results]
        parts.append([array.copy() for array in rows] if keeps else rows)
        begin = end
    return parts


def stream(runner: Runner, batch: Batch, clock: Callable[[], float], part: Callable[[list[Array]], object]) -> None:
    """Run a batch of one job by the model's `stream`, and give each answer to `part`, until the job is taken back."""
    [job] = batch.jobs
    started = clock()
    try:
        with closing(_generator(runner, job)) as answers:
            for answer in answers:
                if job.cancelled:
                    break
                part(answer)
    except Exception as error:
        batch.error = error
    batch.run = Run(started, 0.0, clock() - started, 0.0)


def _generator(runner: Runner, job: Job) -> Generator[list[Array], None, None]:
    """The answers one by one, as something that can be closed whatever the backend gave."""
    yield from runner.stream(job.feeds, job.outputs, job.parameters)
