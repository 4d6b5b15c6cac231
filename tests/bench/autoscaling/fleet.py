"""A fleet of pods behind a plain Service, simulated request by request in `fleet.c`.

Requests come as a Poisson process whose rate is given for each second. Each goes to a ready pod: any of them
(kube-proxy) or the less loaded of two. A pod has as many places as its queue is long, and refuses what comes beyond;
with no ready pod everything is refused. A free pod runs what waits, at most a batch; a run of n takes `a + b n`
seconds, and while it lasts the next batch gathers. Pods answer once they are `load` seconds old, and finish what they
hold when they are removed. Each pod is scraped at its own phase, from the moment when its process runs.
"""

import ctypes
import hashlib
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from mooring_operator.scaling.slo import Capability, Target
from tests.bench import report

_SOURCES = tuple(Path(__file__).with_name(name) for name in ("fleet.c", "pod.h", "draw.h"))
FOLDER = report.FOLDER / "autoscaling"
_PODS = 512
_UNBOUNDED = 1 << 17
_Floats = NDArray[np.float64]


class NoCompilerError(Exception):
    """There is no C compiler on this machine, which the simulator is built by."""


@dataclass(frozen=True)
class Model:
    """What is served, and how its pods start.

    Attributes:
        capability: one pod, of one worker; beyond its `queue_limit` a request is refused, which is a miss.
        target: the latency that is to be held.
        load: seconds from a pod's creation until it answers.
        scrape: seconds between two looks of Prometheus at a pod.
        least_loaded: whether a router sends each request to the less loaded of two pods.
    """

    name: str
    capability: Capability
    target: Target
    load: float
    scrape: float = 15.0
    least_loaded: bool = False

    @property
    def batches(self) -> bool:
        """Whether it takes several requests in a run."""
        return self.capability.max_batch > 1


class _Settings(ctypes.Structure):
    _fields_ = [
        (name, ctypes.c_double)
        for name in (
            "fixed",
            "per_sample",
            "max_delay",
            "variation",
            "target",
            "load",
            "metrics",
            "scrape",
            "judge_from",
        )
    ] + [(name, ctypes.c_int64) for name in ("max_batch", "queue_bound", "least_loaded", "seed")]


@dataclass(frozen=True)
class Totals:
    """Requests that came, were refused and answered; seconds that the answered ones took; pod seconds."""

    arrived: int
    refused: int
    answered: int
    seconds: float
    replica_seconds: float


METRICS_FROM = 0.5
"""Share of the load time after which a pod's process runs and shows its metrics: before it, the image is fetched."""


class Fleet:
    """One simulated service; a context manager, for what it holds is not Python's.

    Args:
        rate: arrivals in req/s of each second.
        judge_from: from which second on pods are paid for.
    """

    def __init__(self, model: Model, rate: _Floats, seed: int, judge_from: float = 0.0) -> None:
        self._library = library()
        self._rate = np.ascontiguousarray(rate, dtype=np.float64)
        curve, limit = model.capability.curve, model.capability.queue_limit
        settings = _Settings(
            curve.fixed,
            curve.per_sample,
            model.capability.max_delay,
            model.capability.squared_variation,
            model.target.seconds,
            model.load,
            METRICS_FROM,
            model.scrape,
            judge_from,
            model.capability.max_batch,
            _UNBOUNDED if limit is None else limit,
            model.least_loaded,
            seed,
        )
        self.now = 0.0
        self._handle = self._library.fleet_new(
            ctypes.byref(settings), self._rate.ctypes.data_as(ctypes.c_void_p), len(self._rate)
        )
        self._pods = [np.empty(_PODS) for _ in range(3)]

    def __enter__(self) -> Self:
        """Return the fleet itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Give its memory back."""
        self._library.fleet_free(self._handle)

    def advance(self, to: float) -> None:
        """Let time pass until `to`, in seconds."""
        self._library.fleet_advance(self._handle, to)
        self.now = to

    def scale(self, count: int) -> None:
        """Have so many pods: new ones start, and of those that are too many the ones that are not ready go first."""
        self._library.fleet_scale(self._handle, count)

    def add(self, load: float | None = None) -> int:
        """Start one pod; return its number."""
        number = int(self._library.fleet_add(self._handle, load if load is not None else 0.0))
        if number < 0:
            raise OverflowError(f"Fleet: more than {_PODS} pods at once")
        return number

    def remove(self, number: int) -> None:
        """Remove one pod."""
        self._library.fleet_remove(self._handle, number)

    @property
    def created(self) -> int:
        """Pods that are there, those that start included: `status.replicas`."""
        return int(self._library.fleet_created(self._handle))

    @property
    def ready(self) -> int:
        """Pods that answer."""
        return int(self._library.fleet_ready(self._handle))

    @property
    def in_system(self) -> int:
        """Requests that wait or run now."""
        return int(self._library.fleet_in_system(self._handle))

    def rate(self, window: float) -> float | None:
        """Return `sum(rate(received[window]))` as Prometheus tells it now; None without two samples of any pod."""
        found = float(self._library.fleet_rate(self._handle, window))
        return None if found < 0.0 else found

    def queued(self) -> float:
        """Return the sum of the last scraped queue lengths."""
        return float(self._library.fleet_gauge(self._handle, 0))

    def load(self) -> float:
        """Return the sum of the last scraped counts of requests that wait or run."""
        return float(self._library.fleet_gauge(self._handle, 1))

    def pods(self) -> tuple[_Floats, _Floats, _Floats]:
        """Return of each pod: its busy share between the last two samples (-1: none), since when it is ready (-1: it
        is not), and when it was last sampled.
        """
        pointers = [each.ctypes.data_as(ctypes.c_void_p) for each in self._pods]
        count = self._library.fleet_busy(self._handle, *pointers)
        busy, ready, sampled = (each[:count] for each in self._pods)
        return busy, ready, sampled

    def by_minute(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return of each whole minute that has passed how many requests came, and how many of them met the target."""
        minutes = int(self.now // 60)
        both = (self._library.fleet_total(self._handle), self._library.fleet_good(self._handle))
        total, good = (_copy(each, ctypes.c_int64, minutes) for each in both)
        return total, good

    def by_second(self) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
        """Return of each whole second that has passed the mean number of requests in the system, pods, ready pods."""
        names = ("concurrency", "counts", "readies")
        seconds = min(int(self.now), len(self._rate))
        one, two, three = (
            _copy(getattr(self._library, f"fleet_{name}")(self._handle), ctypes.c_float, seconds) for name in names
        )
        return one, two, three

    def concurrency(self, seconds: int) -> float:
        """Return the mean number of requests in the system over the last so many whole seconds."""
        last = min(int(self.now), len(self._rate))
        pointer = ctypes.cast(self._library.fleet_concurrency(self._handle), ctypes.POINTER(ctypes.c_float))
        first = max(0, last - seconds)
        return float(sum(pointer[first:last])) / max(1, last - first)

    def totals(self) -> Totals:
        """Return the sums since the beginning."""
        out = (ctypes.c_double * 5)()
        self._library.fleet_totals(self._handle, out)
        return Totals(int(out[0]), int(out[1]), int(out[2]), out[3], out[4])


class Sample(ctypes.Structure):
    """What one scrape of a pod shows."""

    _fields_ = [(name, ctypes.c_double) for name in ("time", "received", "queued", "load", "busy")]


def counter_rate(samples: Sequence[tuple[float, float]], at: float, window: float) -> float | None:
    """Return `rate(counter[window])` of (time, value) samples as Prometheus tells it; None with fewer than two."""
    array = (Sample * len(samples))(*(Sample(time, value) for time, value in samples))
    found = float(library().fleet_counter_rate(array, len(samples), at, window))
    return None if found < 0.0 else found


_loaded: list[ctypes.CDLL] = []


def library() -> ctypes.CDLL:
    """Return the simulator, built anew when its source has changed. Raises NoCompilerError."""
    if not _loaded:
        _loaded.append(_declare(ctypes.CDLL(str(_build()))))
    return _loaded[0]


def _build() -> Path:
    digest = hashlib.sha256(b"".join(source.read_bytes() for source in _SOURCES)).hexdigest()[:12]
    file = FOLDER / f"fleet-{digest}.so"
    if not file.exists():
        compiler = shutil.which("cc") or shutil.which("gcc")
        if compiler is None:
            raise NoCompilerError("the simulator needs a C compiler: install gcc")
        FOLDER.mkdir(parents=True, exist_ok=True)
        new = FOLDER / f"fleet-{digest}.{hashlib.sha256(str(id(file)).encode()).hexdigest()[:8]}.new"
        flags = ("-std=c11", "-O2", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC")
        subprocess.run([compiler, *flags, "-o", new, _SOURCES[0], "-lm"], check=True)
        new.rename(file)  # Another process may build it at the same time.
    return file


def _declare(loaded: ctypes.CDLL) -> ctypes.CDLL:
    number, real, place = ctypes.c_int64, ctypes.c_double, ctypes.c_void_p
    kinds: dict[str, tuple[Any, tuple[Any, ...]]] = {
        "new": (place, (place, place, number)),
        "free": (None, (place,)),
        "advance": (None, (place, real)),
        "scale": (None, (place, number)),
        "add": (number, (place, real)),
        "remove": (None, (place, number)),
        "created": (number, (place,)),
        "ready": (number, (place,)),
        "in_system": (number, (place,)),
        "rate": (real, (place, real)),
        "counter_rate": (real, (place, number, real, real)),
        "gauge": (real, (place, number)),
        "busy": (number, (place, place, place, place)),
        "totals": (None, (place, place)),
        "total": (place, (place,)),
        "good": (place, (place,)),
        "concurrency": (place, (place,)),
        "counts": (place, (place,)),
        "readies": (place, (place,)),
    }
    for name, (result, arguments) in kinds.items():
        function = getattr(loaded, f"fleet_{name}")
        function.restype, function.argtypes = result, arguments
    return loaded


def _copy(place: int, kind: Any, length: int) -> NDArray[Any]:
    if length <= 0:
        return np.zeros(0)
    return np.ctypeslib.as_array(ctypes.cast(place, ctypes.POINTER(kind)), (length,)).copy()
