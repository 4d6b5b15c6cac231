"""Sessions of a model whose states stay on its device, run as the scheduler runs them, for tests of any backend."""

import json
import time
import weakref
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mooring_runtime.backends.arena import Arena, Memory, Sizes, make
from mooring_runtime.backends.base import Backend, LoadOptions, loader
from mooring_runtime.messages import DATATYPES, Array, StatePair
from mooring_runtime.repository import config
from mooring_runtime.repository.proof import prove
from mooring_runtime.repository.state_loading import with_state
from mooring_runtime.repository.stateful import Stateful
from mooring_runtime.scheduling import Job, Run
from mooring_runtime.scheduling.runs import Batch, execute

State = tuple[Array, ...]
PLENTY = 2**20
"""Bytes in which the states of all small tests have room."""


def options(**more: Any) -> LoadOptions:
    """How models are loaded here."""
    usual = {"accelerator": False, "allow_unsafe": True, "sessions": True, "hold_anywhere": True}
    return LoadOptions("m", "1", 1, **usual | more)


def loaded(file: Path, state: Mapping[str, Any] | None = None, *, room: int = PLENTY, **more: Any) -> Stateful:
    """The model in `file` with `room` bytes on its device for states, which is a CPU unless `more` allow another."""
    kind = {".onnx": "onnx", ".pt2": "torch-export", ".pt": "torchscript"}[file.suffix]
    chosen = options(device_state=room, **more)
    said = config.parse(json.dumps({"state": state or {}}), "mooring.json").state
    found = with_state(loader(kind)(file, chosen), said, file.parent, chosen, loader)
    assert isinstance(found, Stateful)
    found.keep_there(chosen)
    return found


def room_for(model: Stateful, slots: int, most: int) -> int:
    """Bytes of an arena of so many slots for runs of so many samples."""
    row = sum(int(np.prod(pair.shape)) * DATATYPES[pair.datatype].dtype.itemsize for pair in model.schema.pairs)
    return (slots + 3 * most) * row


class Counted:
    """What an arena tells of its runs."""

    def __init__(self, model: Stateful) -> None:
        self.found = self.sent = 0
        assert model.arena is not None
        model.arena.arena.count = self._count

    def _count(self, found: int, sent: int) -> None:
        self.found += found
        self.sent += sent

    def told(self) -> tuple[int, int]:
        """(states found on the device, states sent there) since the last time."""
        told, self.found, self.sent = (self.found, self.sent), 0, 0
        return told


class Step(Job):
    """A step as the scheduler sees it; `outcome` is all that the run gave, or why it gave nothing."""

    answers_later = keeps_results = True
    rows = 1
    size = 0
    like = ()

    def __init__(self, feeds: Mapping[str, Array], outputs: tuple[str, ...]) -> None:
        self.feeds = feeds
        self.outputs = outputs
        self.arrived = 0.0
        self.run: Run | None = None
        self.outcome: list[Array] | Exception | None = None


class Talk:
    """Sessions of one model, each with the state that its last step left."""

    def __init__(self, model: Stateful) -> None:
        self.model = model
        first = tuple(pair.first(DATATYPES[pair.datatype].dtype) for pair in model.schema.pairs)
        self.first: State = first
        """With which each session begins: the same arrays for all, as in the data plane."""
        self.states: dict[int, State] = {}

    def steps(self, sent: Mapping[int, Mapping[str, Array]], padded: int = 0) -> dict[int, list[Array] | Exception]:
        """One run for a step of each session named, filled up to `padded` samples: what each client is answered.

        The state of a session whose step failed stays as it was.
        """
        names = self.model.metadata.output_names
        outputs = (*names, *[name for name in self.model.schema.outputs if name not in names])
        jobs: list[Job] = []
        for session, inputs in sent.items():
            state = self.states.get(session, self.first)
            named = {pair.name: array for pair, array in zip(self.model.schema.pairs, state, strict=True)}
            jobs.append(Step({**inputs, **named}, outputs))
        batch = Batch(jobs)
        batch.padded = max(padded, batch.rows)
        told: dict[int, list[Array] | Exception] = {}
        by_job = dict(zip(jobs, sent, strict=True))
        for done in execute(self.model, batch, time.perf_counter):
            for index, job in enumerate(done.jobs):
                if done.error is not None:
                    told[by_job[job]] = done.error
                    continue
                results = done.results[index]
                told[by_job[job]] = results[: len(names)]
                self.states[by_job[job]] = tuple(
                    results[outputs.index(pair.output)] for pair in self.model.schema.pairs
                )
        return told


def interleaved(there: Stateful, plain: Stateful, sessions: int, steps: int, most: int) -> None:
    """Hold many sessions, in runs of changing size and company, against each of them alone and without an arena.

    Both are models of one input, `x`; equal is what has the same bits.
    """
    random = np.random.default_rng(7)
    [spec] = there.metadata.inputs.values()
    sent = {
        session: [random.standard_normal((1, *spec.shape[1:])).astype(np.float32) for _ in range(steps)]
        for session in range(sessions)
    }
    together, done = Talk(there), dict.fromkeys(range(sessions), 0)
    answers: dict[int, list[bytes]] = {session: [] for session in range(sessions)}
    left = list(done)
    while left:
        # Those in front are often in a run, the others now and then: some states stay there, others do not.
        count = random.integers(1, most + 1)
        turn = {left[min(place, len(left)) - 1] for place in random.geometric(0.2, count).tolist()}
        padded = most if random.random() < 0.3 else 0
        told = together.steps({each: {"x": sent[each][done[each]]} for each in sorted(turn)}, padded)
        for each, answer in told.items():
            assert isinstance(answer, list), answer
            answers[each].append(b"".join(array.tobytes() for array in answer))
            done[each] += 1
        left = [each for each in left if done[each] < steps]
    alone = Talk(plain)
    for session in range(sessions):
        for index in range(steps):
            told = alone.steps({session: {"x": sent[session][index]}})
            answer = told[session]
            assert isinstance(answer, list), answer
            assert answers[session][index] == b"".join(array.tobytes() for array in answer), (session, index)
        for one, other in zip(together.states[session], alone.states[session], strict=True):
            assert one.tobytes() == other.tobytes(), session


def found_and_sent(there: Stateful, plain: Stateful) -> None:
    """Which states are found, and which are sent, where there is plenty of room; `x` has one element a sample."""
    talks, counted = (Talk(there), Talk(plain)), Counted(there)

    def run(*sessions: int, value: float = 1.0, padded: int = 0) -> tuple[int, int]:
        sent = {session: {"x": np.full((1, 1), value + session, np.float32)} for session in sessions}
        told = [talk.steps(sent, padded) for talk in talks]
        for session in sessions:
            one, other = told[0][session], told[1][session]
            assert isinstance(one, list)
            assert isinstance(other, list)
            assert [array.tobytes() for array in one] == [array.tobytes() for array in other]
            left = [talk.states[session] for talk in talks]
            assert [array.tobytes() for array in left[0]] == [array.tobytes() for array in left[1]]
        return counted.told()

    assert run(0, 1, 2) == (0, 3), "sessions that begin"
    assert not any(array.flags.writeable for array in talks[0].states[0]), "its image would not follow"
    assert run(2, 0) == (2, 0)
    assert run(0) == (1, 0), "alone"
    assert run(1, 0, padded=5) == (2, 0), "filled up"
    assert run(1, 3) == (1, 1), "one that begins"
    before = [talk.states[1] for talk in talks]
    assert run(1) == (1, 0)
    for talk, state in zip(talks, before, strict=True):
        talk.states[1] = talk.states[4] = state
    assert run(1, 4) == (2, 0), "one that went back, and another one forked from there"
    for talk in talks:
        talk.states[2] = tuple(array.copy() for array in talk.states[2])
    assert run(1, 2, 0) == (2, 1), "one that was on disk alone"
    assert run(2) == (1, 0)


class _Failing:
    """A memory whose runs fail after they have written where next states go, as the worst of them do."""

    def __init__(self, memory: Memory, words: str) -> None:
        self._memory = memory
        self._words = words
        self.stage, self.read = memory.stage, memory.read

    def run(
        self, inputs: Mapping[str, Array], places: Sequence[int], outputs: Sequence[str], start: int
    ) -> list[Array]:
        self._memory.run(inputs, places, outputs, start)
        raise MemoryError(self._words)


def fail_there(model: Stateful, words: str) -> None:
    """From now on no run goes well with states on the device."""
    assert model.arena is not None
    inner = vars(model.arena.arena)
    inner["_memory"] = _Failing(inner["_memory"], words)


def given_up(there: Stateful, plain: Stateful, caplog: pytest.LogCaptureFixture) -> None:
    """A run that fails only for the arena, in the midst of others, is the last one there, and nobody is told."""
    assert there.arena is not None
    arena, memory = there.arena.arena, there.memory
    places = weakref.ref(vars(arena)["_memory"])
    talks = Talk(there), Talk(plain)
    for turn in range(1, 7):
        if turn == 4:
            fail_there(there, "lost")
        told = [talk.steps({each: {"x": np.full((1, 1), turn, np.float32)} for each in range(turn)}) for talk in talks]
        for each in range(turn):
            one, other = told[0][each], told[1][each]
            assert isinstance(one, list), one
            assert isinstance(other, list)
            assert [array.tobytes() for array in one] == [array.tobytes() for array in other]
        assert (there.arena is None, there.lost) == ((turn >= 4,) * 2)
    assert there.memory == plain.memory < memory
    assert arena.size == 0
    assert places() is None, "the memory of the device is free"
    [line] = [each for each in caplog.messages if "no states on its device" in each]
    assert line.startswith("model 'm' keeps no states on its device, and is sent them for each run: ")
    assert "a run with states there failed, and went well without: MemoryError: lost" in line
    assert "MOORING_DEVICE_STATE=0" in line


def shown(there: Stateful) -> None:
    """What each model has to show at its load, on the device where the test runs."""
    prove(there, {spec.name: np.zeros((1, *spec.shape[1:]), np.float32) for spec in there.metadata.inputs.values()})
    assert there.arena is not None
    assert not there.lost


def results_stay(there: Stateful) -> None:
    """Assert that later runs do not write to what earlier ones have given; its samples are of one number, `x`."""
    talk = Talk(there)
    kept: list[tuple[Array, list[float]]] = []
    for turn in range(12):
        told = talk.steps({each: {"x": np.full((1, 1), turn + each, np.float32)} for each in range(1 + turn % 2)})
        for each, answer in told.items():
            assert isinstance(answer, list)
            kept += [(array, array.ravel().tolist()) for array in (*answer, *talk.states[each])]
    assert all(array.ravel().tolist() == values for array, values in kept)


def every_bit_stays(there: Stateful) -> None:
    """States of five elements that the model gives back as they are: whatever bits they have."""
    [pair] = there.schema.pairs
    dtype = DATATYPES[pair.datatype].dtype
    # A truth value is 0 or 1; of all others any bits are one.
    bits = np.random.default_rng(0).integers(0, 2 if dtype.kind == "b" else 256, 5 * dtype.itemsize, np.uint8)
    talk, counted = Talk(there), Counted(there)
    talk.states = {each: (np.roll(bits, each).view(dtype).reshape(1, 5),) for each in range(3)}
    if dtype.kind == "f":
        talk.states[3] = (np.array([[np.nan, -np.nan, -0.0, np.inf, -np.inf]], dtype),)
    before = {each: state[0].tobytes() for each, state in talk.states.items()}
    for _ in range(3):
        told = talk.steps({each: {"x": np.zeros((1, 1), np.float32)} for each in before})
        assert all(isinstance(answer, list) for answer in told.values()), told
    assert {each: state[0].tobytes() for each, state in talk.states.items()} == before
    assert counted.told() == (2 * len(before), len(before))


class HostMemory:
    """Places in the memory of the host, for a backend of a test, which runs as it does without."""

    def __init__(self, backend: Backend, pairs: Sequence[StatePair], sizes: Sizes) -> None:
        self._backend = backend
        self._pairs = {pair.output: pair for pair in pairs}
        self._staged = sizes.staged
        shape = sizes.staged + sizes.most
        self._rings = {pair.input: np.zeros((shape, *pair.shape[1:]), DATATYPES[pair.datatype].dtype) for pair in pairs}

    def stage(self, rows: Mapping[str, Array]) -> None:
        for name, array in rows.items():
            self._rings[name][self._staged : self._staged + len(array)] = array

    def read(self, places: Sequence[int]) -> list[Array]:
        return [ring[list(places)] for ring in self._rings.values()]

    def run(
        self, inputs: Mapping[str, Array], places: Sequence[int], outputs: Sequence[str], start: int
    ) -> list[Array]:
        given = dict(zip(self._rings, self.read(places), strict=True))
        results = self._backend.infer({**inputs, **given}, outputs)
        for name, array in zip(outputs, results, strict=True):
            if name in self._pairs:
                self._rings[self._pairs[name].input][start : start + len(array)] = array
        return results


def on_host(backend: Backend, pairs: Sequence[StatePair], most: int, limit: int) -> Arena | None:
    """`Backend.hold` of a backend of a test."""

    def reserve(sizes: Sizes) -> Memory:
        return HostMemory(backend, pairs, sizes)

    return make(reserve, pairs, most, limit, model="m")


class _Forgetful:
    def stage(self, rows: Mapping[str, Array]) -> None:
        pass

    def read(self, places: Sequence[int]) -> list[Array]:
        return [np.zeros((len(places), 2), np.float32)]

    def run(
        self, inputs: Mapping[str, Array], places: Sequence[int], outputs: Sequence[str], start: int
    ) -> list[Array]:
        raise AssertionError


def forgetful() -> Arena | None:
    """What is made of a memory that does not keep what it is given: raises."""
    pairs = [StatePair("h", "h", "h2", "FP32", (1, 2))]
    return make(lambda sizes: _Forgetful(), pairs, 4, 1000, model="m")
