"""Imports `model.py` under a name of its own, and finds the class to serve in it."""

import itertools
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from mooring_runtime.errors import ModelInvalid

EXAMPLE = """
class Model:
    inputs = {"x": ("FP32", [-1, 4])}
    outputs = {"sum": ("FP32", [-1])}

    def predict(self, inputs):
        return {"sum": inputs["x"].sum(axis=1)}
"""
"""What an error shows: the shortest model."""

_numbers = itertools.count(1)


@dataclass(frozen=True, slots=True)
class Context:
    """What `load` is told."""

    name: str
    """The model's name."""
    version: str
    directory: Path
    """Where `model.py` and the files beside it are."""
    threads: int
    """CPU threads that one call of `predict` may use."""
    accelerator: bool
    """Whether a GPU may be used; False also in `check`, which runs where there is none."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """A class out of a file."""

    cls: type[Any]
    module: str
    """The module's name, under which also those beside it are found."""


def import_class(file: Path) -> Loaded:
    """Run the file and find the class to serve. Raises ModelInvalid with what the file raised, or what it lacks."""
    module = import_file(file)
    with discarded_on_failure(module.__name__):
        return Loaded(_find(file, module), module.__name__)


def import_file(file: Path) -> ModuleType:
    """Run the file. Raises ModelInvalid with what it raised.

    The module gets a new name each time, so that two versions of a model, or a model and its successor, never share
    what they import from beside them.
    """
    # Byte code beside a model would be taken for that of its successor of the same second and size.
    sys.dont_write_bytecode = True
    name = f"mooring_model_{next(_numbers)}"
    module = ModuleType(name)
    module.__file__ = str(file)
    module.__path__ = [str(file.parent)]
    module.__package__ = name
    sys.modules[name] = module
    with discarded_on_failure(name), translated(file, "importing it"):
        # Not by importlib's loader, for the same reason: byte code may lie there already.
        exec(compile(file.read_bytes(), str(file), "exec", dont_inherit=True), module.__dict__)
    return module


def discard(name: str) -> None:
    """Forget a model's modules, so that their memory can be given back."""
    for each in [each for each in sys.modules if each == name or each.startswith(f"{name}.")]:
        del sys.modules[each]


@contextmanager
def discarded_on_failure(name: str) -> Iterator[None]:
    """Forget the model's modules when the block raises."""
    try:
        yield
    except BaseException:
        discard(name)
        raise


@contextmanager
def translated(file: Path, doing: str) -> Iterator[None]:
    """Whatever the model's code raises becomes ModelInvalid: also `sys.exit()`, which must not end the server."""
    try:
        yield
    except SyntaxError as error:
        raise ModelInvalid(f"{file.name} is no Python: line {error.lineno}: {error.msg}") from error
    except BaseException as error:
        raise ModelInvalid(f"{file.name}: {doing} raised {type(error).__name__}: {error}") from error


def _find(file: Path, module: ModuleType) -> type[Any]:
    """The one class of the module's own that has `predict`, or of several the one named `Model`."""
    own = [each for each in vars(module).values() if isinstance(each, type) and each.__module__ == module.__name__]
    models = [each for each in dict.fromkeys(own) if callable(getattr(each, "predict", None))]
    named = [each for each in models if each.__name__ == "Model"]
    if len(models) == 1 or named:
        return (named or models)[0]
    if models:
        names = ", ".join(each.__name__ for each in models)
        raise ModelInvalid(
            f"{file.name} has {len(models)} classes with a predict ({names}): name the one to serve Model"
        )
    if own:
        names = ", ".join(each.__name__ for each in own)
        raise ModelInvalid(f"{file.name}: no class has a method predict, neither of {names}; write\n{EXAMPLE}")
    raise ModelInvalid(f"{file.name} has no class; write\n{EXAMPLE}")
