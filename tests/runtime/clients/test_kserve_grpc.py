"""The kserve client over gRPC, as it comes, against a real server; it runs in an environment of its own."""

from typing import Any

import pytest

from tests.support import kserve_client
from tests.support.runtime_process import Server

pytestmark = pytest.mark.timeout(90)


@pytest.fixture(scope="module")
def found(house: Server) -> Any:
    return kserve_client.run("kserve_grpc.py", f"127.0.0.1:{house.grpc_port}")


def test_health_pleases_it(found: Any) -> None:
    assert [found[name] for name in ("live", "ready", "model")] == [True] * 3


@pytest.mark.parametrize("raw", [True, False])
def test_inference(found: Any, raw: bool) -> None:
    assert found[f"scores {raw}"] == ["7", [[1.5, -2.0]]]
    assert found[f"text {raw}"] == ["ä", ""]


def test_errors(found: Any) -> None:
    assert found["unknown"].startswith("NOT_FOUND unknown model 'other'")
    assert found["wrong"].startswith("INVALID_ARGUMENT model 'text' has no input 'in_FP32'")


def test_its_load_and_unload_have_the_model_in_their_first_field(found: Any) -> None:
    assert found["unload"] == ["image", True]
    assert found["load"] == ["image", True]
