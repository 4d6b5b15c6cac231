"""Which files of tests two workers begin with."""

import pytest

# The longest first: whichever came last would leave one of the workers idle. All others take less than half a minute,
# and come in their own order.
LONGEST = (
    *("tests/faults/test_sessions_faults_process.py", "tests/operator/router/test_life_process.py"),
    *("tests/controlplane/test_autoscaling_status.py", "tests/controlplane/test_adapter_scaling.py"),
    *("tests/controlplane/test_operator_leader.py", "tests/controlplane/test_stateful_life.py"),
    *("tests/controlplane/test_adapter_registration.py", "tests/controlplane/test_autoscaling_backends.py"),
    *("tests/controlplane/test_operator_rest.py", "tests/controlplane/test_operator_outage.py"),
    *("tests/controlplane/test_operator_crash.py", "tests/controlplane/test_operator_children.py"),
)
_PLACES = {name: place for place, name in enumerate(LONGEST)}


def longest_first(items: list[pytest.Item]) -> None:
    """Sorts tests by their files; the tests of a file stay in order."""
    items.sort(key=lambda item: _PLACES.get(item.nodeid.partition("::")[0], len(_PLACES)))
