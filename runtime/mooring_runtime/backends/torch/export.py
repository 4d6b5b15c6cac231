"""Programs of torch.export: a graph whose inputs and outputs the file describes.

Inputs are named as the arguments of `forward`; outputs by the keys of the dict that it returns, else `output`, or
`output_0`, `output_1`. What `mooring.json` declares as inputs or outputs gives them other names, in the same order.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch.export.graph_signature import ConstantArgument, InputKind, OutputKind, TensorArgument
from torch.export.passes import move_to_device_pass
from torch.utils import _pytree as pytree

from mooring_runtime.backends.base import Backend, LoadOptions, require_allowed
from mooring_runtime.backends.torch.archive import require_export
from mooring_runtime.backends.torch.arrays import DATATYPES
from mooring_runtime.backends.torch.backend import Program, TorchBackend, choose_device, words
from mooring_runtime.backends.torch.compiled import compiled, translate_now
from mooring_runtime.errors import ModelInvalid
from mooring_runtime.messages import ModelMetadata, TensorSpec, Traits

PLATFORM = "pytorch_export"


def load(file: Path, options: LoadOptions) -> Backend:
    """Load a `.pt2` file.

    Raises UnsafeFormat unless `options` allow the format, or where the file holds more than a graph; ModelInvalid with
    torch's own words, or with what `mooring.json` declares and the graph has not.
    """
    require_allowed(file, "a program of torch.export, whose loading evaluates expressions from the file", options)
    require_export(file)
    device = choose_device(options)
    try:
        program = torch.export.load(str(file))
        if device.type != "cpu":
            program = move_to_device_pass(program, str(device))
        module = program.module()
    except Exception as error:  # torch raises of every kind.
        raise ModelInvalid(
            f"{file.name} is no model that torch {torch.__version__} can serve: {words(error)}"
        ) from error
    arguments = _arguments(file, program, options)
    results = _results(file, program, options)
    specs = [tuple(slot.spec for slot in slots if slot.spec is not None) for slots in (arguments, results)]
    traits = Traits(options.max_batch, labels=options.labels)
    metadata = ModelMetadata(options.name, options.version, PLATFORM, specs[0], specs[1], traits)
    held = [*module.state_dict().values(), *(each for each in program.constants.values() if torch.is_tensor(each))]
    run = compiled(module, options) if options.compile else module
    call = _Call(run, arguments, results, program.call_spec.in_spec)
    backend = TorchBackend(Program(call, held), metadata, device)
    if options.compile:
        translate_now(backend)
    return backend


@dataclass(frozen=True, slots=True)
class _Slot:
    """A leaf of the arguments or of the results: a tensor with a spec, or a constant of the export."""

    spec: TensorSpec | None
    value: Any = None


class _Call:
    """Lays tensors by name into the nest of arguments that the program was exported with; its results become a dict."""

    def __init__(self, run: Any, arguments: Sequence[_Slot], results: Sequence[_Slot], in_spec: Any) -> None:
        self._run = run
        self._arguments = arguments
        self._results = results
        self._in_spec = in_spec

    def __call__(self, tensors: Mapping[str, torch.Tensor]) -> Mapping[str, Any]:
        leaves = [slot.value if slot.spec is None else tensors[slot.spec.name] for slot in self._arguments]
        args, kwargs = pytree.tree_unflatten(leaves, self._in_spec)
        given = pytree.tree_leaves(self._run(*args, **kwargs))
        return {slot.spec.name: leaf for slot, leaf in zip(self._results, given, strict=True) if slot.spec is not None}


def _arguments(file: Path, program: Any, options: LoadOptions) -> list[_Slot]:
    given = [each.arg for each in program.graph_signature.input_specs if each.kind is InputKind.USER_INPUT]
    names = [argument.name for argument in given]
    return _slots(f"{file.name}: input", program, list(zip(names, given, strict=True)), options.inputs)


def _results(file: Path, program: Any, options: LoadOptions) -> list[_Slot]:
    given = [each.arg for each in program.graph_signature.output_specs if each.kind is OutputKind.USER_OUTPUT]
    nest = pytree.tree_unflatten(list(range(len(given))), program.call_spec.out_spec)
    names = [_name(path) for path, _ in pytree.tree_flatten_with_path(nest)[0]]
    return _slots(f"{file.name}: output", program, list(zip(names, given, strict=True)), options.outputs)


def _name(path: Sequence[Any]) -> str:
    """The name of an output out of its place in the nest that `forward` returns."""
    parts = [str(getattr(key, "key", getattr(key, "name", getattr(key, "idx", key)))) for key in path]
    return "_".join(["output", *parts] if all(part.isdigit() for part in parts) else parts)


def _slots(role: str, program: Any, given: Sequence[tuple[str, Any]], declared: Sequence[TensorSpec]) -> list[_Slot]:
    """The leaves with their specs out of the graph, under the names that `declared` gives, where it does."""
    values = {node.name: node.meta.get("val") for node in program.graph.nodes}
    slots = []
    for name, argument in given:
        if isinstance(argument, ConstantArgument):
            slots.append(_Slot(None, argument.value))
        elif isinstance(argument, TensorArgument):
            slots.append(_Slot(_spec(role, name, values[argument.name])))
        else:
            raise ModelInvalid(
                f"{role} '{name}' is no tensor but a number that each request would choose; export a tensor"
            )
    if not declared:
        return slots
    found = [slot.spec for slot in slots if slot.spec is not None]
    if [(each.datatype, len(each.shape)) for each in found] != [(each.datatype, len(each.shape)) for each in declared]:
        raise ModelInvalid(
            f"{role}s: mooring.json declares {_list(declared)}, but the program has {_list(found)}; "
            "names may differ, number, order, datatypes and ranks may not"
        )
    renamed = iter([TensorSpec(new.name, old.datatype, old.shape) for new, old in zip(declared, found, strict=True)])
    return [slot if slot.spec is None else _Slot(next(renamed)) for slot in slots]


def _spec(role: str, name: str, value: torch.Tensor) -> TensorSpec:
    datatype = DATATYPES.get(value.dtype)
    if datatype is None:
        raise ModelInvalid(f"{role} '{name}' is {value.dtype}, which the V2 protocol cannot carry")
    return TensorSpec(name, datatype, tuple(size if isinstance(size, int) else -1 for size in value.shape))


def _list(specs: Sequence[TensorSpec]) -> str:
    return ", ".join(f"'{spec.name}' {spec.datatype} {list(spec.shape)}" for spec in specs)
