"""The kserve client over REST, as it comes, against a real server; it runs in an environment of its own."""

from typing import Any

import pytest

from tests.support import kserve_client
from tests.support.runtime_process import Server

pytestmark = pytest.mark.timeout(90)


@pytest.fixture(scope="module")
def found(house: Server) -> Any:
    return kserve_client.run("kserve_rest.py", f"http://127.0.0.1:{house.port}")


def test_health_pleases_it(found: Any) -> None:
    told = {"v1 live", "v1 model", "v2 live", "v2 ready", "v2 model"}
    assert {name: found[name] for name in told} == dict.fromkeys(told, True)


def test_v1(found: Any) -> None:
    assert found["v1 predict"] == {"predictions": [[1.0, 2.0], [3.0, 4.0]]}


@pytest.mark.parametrize("binary", [True, False])
def test_v2(found: Any, binary: bool) -> None:
    assert found[f"v2 scores {binary}"] == [[1.5, -2.0]]
    assert found[f"v2 text {binary}"] == ["ä", ""]


@pytest.mark.parametrize(
    ("call", "words"),
    [
        ("v1 explain", ["501", "model 'scores' has no explainer"]),
        ("v1 wrong", ["400", "instances[1] has 1 elements"]),
        ("v1 unknown", ["404", "unknown model 'other'"]),
        ("v2 unknown", ["404", "unknown model 'other'"]),
        ("v2 wrong", ["400", "model 'text' has no input 'in_FP32'"]),
    ],
)
def test_it_reads_our_errors(found: Any, call: str, words: list[str]) -> None:
    for word in words:
        assert word in found[call]
