from typing import Any

import pytest

from mooring_runtime.errors import InvalidRequest
from mooring_runtime.frontends.v2.parameters import Requested, requested
from mooring_runtime.messages import Parameter, SessionCall


def test_what_nobody_reserves_is_the_models() -> None:
    own: dict[str, Parameter] = {"temperature": 0.5, "n": 3, "stream": True, "stop": "."}
    assert requested({**own, "binary_data_output": True}, frozenset({"binary_data_output"})) == Requested(own)


def test_priority_and_timeout() -> None:
    assert requested({"priority": 2, "timeout": 1_500_000}) == Requested(priority=2, timeout=1.5)
    assert requested({"priority": "2", "timeout": "0"}) == Requested(priority=2)


def test_an_empty_sequence_is_none() -> None:
    assert requested({"sequence_id": 0, "sequence_start": False, "sequence_end": False}) == Requested()


def test_a_sequence_is_a_session() -> None:
    assert requested({"sequence_id": 7, "sequence_start": True, "own": 1}) == Requested(
        {"own": 1}, session=SessionCall("7", start=True)
    )


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ({"headers": 1}, "parameter headers cannot be used"),
        ({"triton_x": 1}, "parameter triton_x cannot be used"),
        ({"priority": -1}, "parameter priority is -1, it must be a whole number from 0"),
        ({"priority": True}, "parameter priority is True"),
        ({"timeout": 1.5}, "parameter timeout is 1.5"),
        ({"timeout": 2**63}, "parameter timeout is 9223372036854775808"),
        ({"own": [1]}, r"parameter own is \[1\], it must be a string, a number, true or false"),
        ({"own": None}, "parameter own is None"),
    ],
)
def test_what_cannot_be_had_is_told(parameters: dict[str, Any], words: str) -> None:
    with pytest.raises(InvalidRequest, match=words):
        requested(parameters)
