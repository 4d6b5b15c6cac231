"""Which execution provider runs a model: TensorRT, CUDA or the CPU, in this order, of those that are really there.

onnxruntime itself falls back to the CPU in silence, at the start and even in the midst of a run. Here its own fall-back
is off: the next provider is tried by us, and said loudly.
"""

import contextlib
import ctypes
import importlib.util
import io
import logging
import mmap
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import onnxruntime as ort

from mooring_runtime.backends.base import LoadOptions

CPU, CUDA, TENSORRT = "CPUExecutionProvider", "CUDAExecutionProvider", "TensorrtExecutionProvider"
DEVICES = {CPU: "CPU", CUDA: "CUDA", TENSORRT: "TensorRT"}
"""What `Backend.device` says of each."""

Chain = list[tuple[str, dict[str, str]]]
"""Providers with their options, best first: each takes the operators that those before it left."""

log = logging.getLogger(__name__)


def chains(available: Sequence[str], options: LoadOptions, tensorrt: bool) -> list[Chain]:
    """What to try, best first; the last is the CPU alone. `tensorrt`: its libraries are on this machine.

    TensorRT is left out where memory is bounded or runs are recorded: onnxruntime does both for CUDA only.
    """
    last: Chain = [(CPU, {})]
    if not options.accelerator or CUDA not in available:
        return [last]
    cuda: Chain = [(CUDA, _cuda(options)), *last]
    bound = options.device_memory is not None or options.cuda_graph
    if TENSORRT in available and tensorrt and not bound:
        return [[(TENSORRT, {"device_id": "0"}), *cuda], cuda, last]
    return [cuda, last]


def _cuda(options: LoadOptions) -> dict[str, str]:
    # The default search tries every algorithm of a convolution for each new shape, and a batch of another size is one:
    # the first requests of each size would wait for hundreds of milliseconds.
    chosen = {"device_id": "0", "cudnn_conv_algo_search": "HEURISTIC"}
    if options.device_memory is not None:
        # By powers of two the arena would ask for twice what is needed, and meet the cap at half of it.
        # The states that stay on the device are no part of the session, but of what the model may take.
        limit = options.device_memory - options.device_state_bytes
        chosen |= {"gpu_mem_limit": str(limit), "arena_extend_strategy": "kSameAsRequested"}
    if options.cuda_graph:
        chosen["enable_cuda_graph"] = "1"
    return chosen


def prepare(options: LoadOptions) -> list[Chain]:
    """`chains` of this machine, its GPU libraries loaded."""
    available = ort.get_available_providers()
    if options.accelerator and CUDA in available:
        # CUDA and cuDNN come as packages of pip, where the loader does not look; without this the session would run
        # on the CPU, and say so in its log only.
        with _printed():
            ort.preload_dlls()
    return chains(available, options, options.accelerator and TENSORRT in available and tensorrt_found())


@contextlib.contextmanager
def _printed() -> Iterator[None]:
    """onnxruntime prints what it could not load, amid the lines of a log that others parse."""
    text = io.StringIO()
    with contextlib.redirect_stdout(text):
        yield
    for line in text.getvalue().splitlines():
        log.warning("onnxruntime: %s", line.strip())


def tensorrt_found(capi: Path | None = None) -> bool:
    """Whether the TensorRT that this onnxruntime was built for can be loaded; its packages do not bring it.

    Asked before a session is made: onnxruntime would write its failure to standard error at each load of a model.
    """
    library = (capi or Path(ort.__file__).parent / "capi") / "libonnxruntime_providers_tensorrt.so"
    name = _needed(library)
    if name is None:
        return False
    spec = importlib.util.find_spec("tensorrt_libs")
    folders = list(spec.submodule_search_locations or ()) if spec is not None else []
    for candidate in (*(str(Path(folder) / name) for folder in folders), name):
        with contextlib.suppress(OSError):
            ctypes.CDLL(candidate, mode=ctypes.RTLD_GLOBAL)
            return True
    return False


def _needed(library: Path) -> str | None:
    """The name of the TensorRT library that `library` was linked against, as in `libnvinfer.so.10`."""
    try:
        with library.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as content:
            found = re.search(rb"libnvinfer\.so\.\d+", content)
            return found[0].decode() if found is not None else None
    except (OSError, ValueError):  # No such file, or an empty one.
        return None


def device(session: Any, model: str, wanted: str) -> str:
    """Where the session runs, and a loud line when that is not the provider `wanted`, or not for all operators."""
    first: str = session.get_providers()[0]
    if first != wanted:
        lost(model, wanted, "onnxruntime did not bring it up; its reason stands before this line", first)
        return DEVICES.get(first, first.removesuffix("ExecutionProvider"))
    if first == CPU:
        return DEVICES[CPU]
    placed = placement(session)
    on_gpu = [name for name in placed if name != CPU]
    if placed and not on_gpu:
        lost(model, first, "it can run none of the model's operators", CPU)
        return DEVICES[CPU]
    if on_gpu and CPU in placed:
        # Not a fault by itself: arithmetic on shapes belongs there.
        log.info(
            "model '%s': %d of its %d operators run on the CPU, the others on %s",
            model,
            placed[CPU],
            placed.total(),
            DEVICES.get(first, first),
        )
    best = first if first in placed or not on_gpu else on_gpu[0]
    return DEVICES.get(best, best.removesuffix("ExecutionProvider"))


def placement(session: Any) -> Counter[str]:
    """Number of operators at each provider; empty where onnxruntime does not tell (before 1.24)."""
    tell = getattr(session, "get_provider_graph_assignment_info", None)
    if tell is None:
        return Counter()
    placed: Counter[str] = Counter()
    for part in tell():
        placed[part.ep_name] += len(part.get_nodes())
    return placed


def lost(model: str, wanted: str, reason: str, instead: str) -> None:
    """Say that a model does not run where it should: a GPU that is paid for stands idle."""
    log.error(
        "model '%s' does not run on %s: %s; it runs on %s",
        model,
        DEVICES.get(wanted, wanted),
        reason,
        DEVICES.get(instead, instead),
    )
