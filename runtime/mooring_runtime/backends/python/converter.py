"""Imports `convert.py`: a function that makes the state of another version of a model into that of this one.

    def convert(state, version):                      # dict of arrays by name, and the model's version that made it
        return {"sum": state["total"].astype(np.float64)}

What it does not return, and the old state has under the same name and in the same form, is carried over.
"""

import inspect
import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from mooring_runtime.backends.base import LoadOptions, require_allowed
from mooring_runtime.backends.python.file import discard, discarded_on_failure, import_file
from mooring_runtime.errors import InferenceFailed, ModelInvalid
from mooring_runtime.messages import Array

log = logging.getLogger(__name__)

NAME = "convert"


class Function(NamedTuple):
    """A function out of a file."""

    call: Callable[[Mapping[str, Array], str], Mapping[str, Array]]
    """Raises InferenceFailed with whatever the function raised."""
    close: Callable[[], None]
    """Forget the file's modules."""


def load_function(file: Path, options: LoadOptions) -> Function:
    """Run the file and find `convert` in it. Raises UnsafeFormat unless `options` allow it, ModelInvalid."""
    require_allowed(file, "Python code", options)
    module = import_file(file)
    with discarded_on_failure(module.__name__):
        function = getattr(module, NAME, None)
        if not callable(function):
            raise ModelInvalid(f"{file.name} has no function {NAME}: write `def {NAME}(state, version):`")
        try:
            inspect.signature(function).bind({}, "1")
        except TypeError as error:
            raise ModelInvalid(f"{file.name}: {NAME} must take (state, version): {error}") from error

    def call(state: Mapping[str, Array], version: str) -> Mapping[str, Array]:
        try:
            returned = function({name: array.copy() for name, array in state.items()}, version)
        except BaseException as error:  # Also `sys.exit()`, which must not end the server.
            log.error("%s raised", file.name, exc_info=error)
            raise InferenceFailed(f"{file.name} failed: {type(error).__name__}: {error}") from error
        if not isinstance(returned, Mapping) or not all(isinstance(each, np.ndarray) for each in returned.values()):
            raise InferenceFailed(f"{file.name}: {NAME} gave {returned!r:.80}: it must return a dict of numpy arrays")
        # A copy: the function may keep what it returned, and write it later.
        return {name: np.array(array, order="C") for name, array in returned.items()}

    return Function(call, lambda: discard(module.__name__))
