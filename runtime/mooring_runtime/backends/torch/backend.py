"""Runs a loaded torch model on its device."""

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from mooring_runtime.backends.arena import Arena, make
from mooring_runtime.backends.base import Backend, LoadOptions
from mooring_runtime.backends.torch.arrays import DATATYPES, to_array, to_tensor
from mooring_runtime.backends.torch.resident import TorchMemory
from mooring_runtime.errors import InferenceFailed, ModelRefused
from mooring_runtime.messages import Array, ModelMetadata, StatePair

Call = Callable[[Mapping[str, torch.Tensor]], Mapping[str, Any]]
"""Tensors by input name, all on the model's device, to what the model gave by output name."""

log = logging.getLogger(__name__)


class Program:
    """What a format's loader made: `call` runs it, `held` are the tensors that stay in memory.

    `hides` tells that it may hold others, which nobody can list.
    """

    def __init__(self, call: Call, held: Iterable[torch.Tensor], *, hides: bool = False) -> None:
        storages = {tensor.untyped_storage().data_ptr(): tensor.untyped_storage().nbytes() for tensor in held}
        self.call = call
        self.hides = hides
        self.storages = frozenset(storages)
        self.memory = sum(storages.values())


class TorchBackend(Backend):
    """A program on a device. On CUDA it has a stream of its own, so that models on one device do not wait in line."""

    def __init__(self, program: Program, metadata: ModelMetadata, device: torch.device) -> None:
        self._program = program
        self.on = device
        self._stream = torch.cuda.Stream(device) if device.type == "cuda" else None
        self.metadata = metadata
        self.device = "CPU" if device.type == "cpu" else str(device)
        self.memory = program.memory

    def infer(self, inputs: Mapping[str, Array], outputs: Sequence[str]) -> list[Array]:
        """Run once; see `Backend.infer`."""
        try:
            with torch.inference_mode(), torch.cuda.stream(self._stream):
                results = self._program.call(self.given(inputs))
                return [self.array(name, results.get(name)) for name in outputs]
        except (InferenceFailed, ModelRefused):
            raise
        except Exception as error:  # torch raises of every kind.
            raise translate(error) from error

    def hold(self, pairs: Sequence[StatePair], most: int, options: LoadOptions) -> Arena | None:
        """See `Backend.hold`."""
        if self._stream is None and not options.hold_anywhere:
            return None
        limit = options.device_state_bytes
        return make(lambda sizes: TorchMemory(self, pairs, sizes), pairs, most, limit, model=options.name)

    @contextmanager
    def running(self) -> Iterator[None]:
        """Around what is done on the device: as a run, on its stream."""
        with torch.inference_mode(), torch.cuda.stream(self._stream):
            yield

    def given(self, inputs: Mapping[str, Array]) -> dict[str, torch.Tensor]:
        """Tensors on the device; to be called while `running`."""
        specs = self.metadata.inputs
        return {
            name: to_tensor(array, specs[name].datatype).to(self.on, non_blocking=True)
            for name, array in inputs.items()
        }

    def called(self, tensors: Mapping[str, torch.Tensor]) -> Mapping[str, Any]:
        """What the program makes of tensors; to be called while `running`."""
        return self._program.call(tensors)

    def array(self, name: str, value: object) -> Array:
        """What the program gave as an output. Raises InferenceFailed where that is no tensor of its datatype."""
        datatype = self.metadata.outputs[name].datatype
        if not isinstance(value, torch.Tensor):
            found = "nothing" if value is None else f"a {type(value).__name__}"
            raise InferenceFailed(f"the model gave {found} as output '{name}', it must be a tensor")
        if DATATYPES.get(value.dtype) != datatype:
            raise InferenceFailed(f"the model gave output '{name}' as {value.dtype}, it is declared as {datatype}")
        if self._stream is not None:
            return to_array(value.to("cpu"))  # Waits for the stream.
        # What is the model's own is copied: its next run may write there.
        own = self._program.hides or value.untyped_storage().data_ptr() in self._program.storages
        return to_array(value.clone() if own else value)

    def close(self) -> None:
        """Let go of the weights, and give back what torch keeps of a GPU's memory."""
        self._program = Program(lambda _: {}, ())
        if self._stream is not None:
            torch.cuda.empty_cache()


def words(error: Exception) -> str:
    """The first line of torch's own words; what follows is its C++ stack."""
    return str(error).strip().partition("\n")[0]


def translate(error: Exception) -> ModelRefused | InferenceFailed:
    """What a run raised: a guard of an exported program is about the tensors, all else is the model's failure."""
    if isinstance(error, AssertionError) and words(error).startswith("Guard failed"):
        return ModelRefused(f"the model refused the input: {words(error)}")
    return InferenceFailed(f"the model failed: {type(error).__name__}: {words(error)}")


def choose_device(options: LoadOptions) -> torch.device:
    """The first CUDA device where one may be used and is there, else the CPU; and what the settings say of either.

    Both the threads and the bound of memory are the process's: torch has none for a single model.
    """
    torch.set_num_threads(options.threads)
    if not options.accelerator:
        return torch.device("cpu")
    if not torch.cuda.is_available():
        if any(Path("/dev").glob("nvidia[0-9]*")):
            log.error(
                "model '%s' does not run on CUDA: torch %s cannot use the GPU that is here; it runs on the CPU",
                options.name,
                torch.__version__,
            )
        return torch.device("cpu")
    device = torch.device("cuda", 0)
    if options.device_memory is not None:
        total = torch.cuda.get_device_properties(device).total_memory
        torch.cuda.set_per_process_memory_fraction(min(1.0, options.device_memory / total), device)
    return device
