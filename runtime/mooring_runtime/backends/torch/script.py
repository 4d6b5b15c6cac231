"""TorchScript: a program that torch's own interpreter runs.

The file does not say datatypes and shapes, so `mooring.json` must; it says the names and types of its arguments.
"""

import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from mooring_runtime.backends.base import Backend, LoadOptions, require_allowed
from mooring_runtime.backends.torch.archive import require_script
from mooring_runtime.backends.torch.backend import Program, TorchBackend, choose_device, log
from mooring_runtime.errors import ModelInvalid
from mooring_runtime.messages import ModelMetadata, TensorSpec, Traits

PLATFORM = "pytorch_libtorch"
"""As Triton names it."""


def load(file: Path, options: LoadOptions) -> Backend:
    """Load a TorchScript file.

    Raises UnsafeFormat for a pickle, ModelInvalid with torch's own words, or with what `mooring.json` must declare.
    """
    require_script(file)
    require_allowed(file, "TorchScript, a program", options)
    device = choose_device(options)
    try:
        with warnings.catch_warnings():
            # Users have these files, and torch has no other way to run one.
            warnings.filterwarnings("ignore", r"`torch\.jit\.load` is deprecated", FutureWarning)
            module = torch.jit.load(str(file), map_location=device)
    except Exception as error:  # torch raises of every kind.
        raise ModelInvalid(
            f"{file.name} is no model that torch {torch.__version__} can serve: {str(error).strip()}"
        ) from error
    module.eval()
    if options.compile:
        log.warning("model '%s' runs uncompiled: torch.compile does not take TorchScript", options.name)
    fill = _arguments(file, module.forward.schema.arguments[1:], options)
    traits = Traits(options.max_batch, labels=options.labels)
    metadata = ModelMetadata(options.name, options.version, PLATFORM, options.inputs, options.outputs, traits)
    held = [*module.parameters(), *module.buffers()]
    # A script may keep tensors in attributes of its own, as a stateful one does.
    program = Program(_call(module, fill, metadata.output_names), held, hides=True)
    return TorchBackend(program, metadata, device)


Fill = Callable[[Mapping[str, torch.Tensor]], Mapping[str, Any]]
"""Tensors by input name to arguments by name."""


def _arguments(file: Path, arguments: Sequence[Any], options: LoadOptions) -> Fill:
    """How the declared inputs become arguments of `forward`: by name, or by place where no name is an argument's."""
    names = [argument.name for argument in arguments]
    if not options.inputs or not options.outputs:
        example = ", ".join(f'{{"name": "{name}", "datatype": "FP32", "shape": [-1, 4]}}' for name in names)
        raise ModelInvalid(
            f"{file.name} is TorchScript, which says no datatypes and shapes: declare them in mooring.json beside it, "
            f'{{"inputs": [{example}], "outputs": [{{"name": "y", "datatype": "FP32", "shape": [-1, 2]}}]}}'
        )
    declared = [spec.name for spec in options.inputs]
    by_place = not set(declared) & set(names)
    targets = dict(zip(declared, names, strict=False)) if by_place else {name: name for name in declared}
    unknown = [name for name in declared if targets.get(name) not in names]
    missing = [each.name for each in arguments if each.name not in targets.values() and not each.has_default_value()]
    if unknown or missing:
        raise ModelInvalid(
            f"{file.name}: mooring.json declares the inputs {_list(declared)}, but its forward takes {_list(names)}"
        )
    types = {argument.name: str(argument.type) for argument in arguments}
    takes = {spec.name: _converter(file, spec, types[targets[spec.name]]) for spec in options.inputs}
    return lambda tensors: {targets[name]: takes[name](tensor) for name, tensor in tensors.items()}


def _converter(file: Path, spec: TensorSpec, kind: str) -> Callable[[torch.Tensor], Any]:
    """What makes an argument of this type out of a tensor. Numbers are sent as tensors of one element."""
    if spec.datatype == "BYTES":
        raise ModelInvalid(f"{file.name}: mooring.json declares '{spec.name}' as BYTES, which torch has no tensors of")
    if kind.startswith("Optional["):
        kind = kind.removeprefix("Optional[").removesuffix("]")
    if kind == "Tensor":
        return lambda tensor: tensor
    if kind in ("int", "float", "bool", "number"):
        return lambda tensor: tensor.reshape(()).item()
    raise ModelInvalid(f"{file.name}: '{spec.name}' is a {kind}, it must be a tensor, an int, a float or a bool")


def _call(module: Any, fill: Fill, outputs: Sequence[str]) -> Callable[[Mapping[str, torch.Tensor]], Mapping[str, Any]]:
    def call(tensors: Mapping[str, torch.Tensor]) -> Mapping[str, Any]:
        result = module(**fill(tensors))
        if isinstance(result, dict):
            return result
        results = result if isinstance(result, list | tuple) else [result]
        return dict(zip(outputs, results, strict=False))

    return call


def _list(names: Sequence[str]) -> str:
    return ", ".join(f"'{name}'" for name in names) or "none"
