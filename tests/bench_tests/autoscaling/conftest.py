import shutil

import pytest


@pytest.fixture(autouse=True)
def _compiler() -> None:
    if shutil.which("cc") is None and shutil.which("gcc") is None:
        pytest.skip("the simulator is built by a C compiler, and there is none")
