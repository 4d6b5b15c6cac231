"""Every format has its module, and a build that lacks a framework says which image has it."""

import importlib.util

import pytest

from mooring_runtime.backends.base import MODULES, loader
from mooring_runtime.errors import ModelInvalid
from mooring_runtime.settings import FORMATS


def test_every_format_that_the_settings_name_has_a_module() -> None:
    assert set(MODULES) == set(FORMATS)
    assert all(importlib.util.find_spec(module.rpartition(".")[0]) for module in MODULES.values())


@pytest.mark.skipif(importlib.util.find_spec("torch") is not None, reason="this Python has torch")
@pytest.mark.parametrize("name", ["torch-export", "torchscript"])
def test_a_format_whose_framework_is_not_here(name: str) -> None:
    words = f"this image cannot serve the format {name}: its Python has no module torch; take the image variant torch"
    with pytest.raises(ModelInvalid, match=words):
        loader(name)
