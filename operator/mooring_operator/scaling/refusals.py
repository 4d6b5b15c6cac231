"""What our adapter tells an autoscaler that gets no value, and what the operator reads of it in the autoscaler's words.

An autoscaler looks each 15 s and then says no more than what it was told. Only the adapter's own words tell an adapter
that cannot see from one that cannot be reached. Pure.
"""

import re
from typing import Final, NamedTuple

NOT_YET: Final = "NoMetricYet"
"""There is none for a moment: something has just been started or made."""

NOT_CONFIGURED: Final = "PrometheusNotConfigured"
"""Nobody has told where Prometheus is."""

_NO_VALUE: Final = "no value of"
_TOLD: Final = re.compile(
    _NO_VALUE + r" \w+(?: for service '[^']*' in namespace '[^']*')?: (?P<said>(?P<reason>[A-Z]\w+): .*)", re.DOTALL
)
_UNREACHED: Final = re.compile(
    "server is currently unable to handle the request|error trying to reach service|no endpoints available for service"
    "|server could not find the requested resource|server was unable to return a response in the time allotted"
)
"""What the API server, and its client, say in place of a server of external metrics that they do not reach."""


class Told(NamedTuple):
    """What the adapter has told: why there is no value, and the same in its words."""

    reason: str
    message: str


def refusal(metric: str, reason: str, message: str, whose: str = "") -> str:
    """Return the words for a metric that has no value, where `whose` names the service."""
    return f"{_NO_VALUE} {metric}{f' for {whose}' if whose else ''}: {reason}: {message}"


def whose(namespace: str, name: str) -> str:
    """Return the name of a service for `refusal`."""
    return f"service {name!r} in namespace {namespace!r}"


def told(words: str) -> Told | None:
    """Return what of an autoscaler's words are our adapter's; None: it did not answer, or it is somebody else's."""
    found = _TOLD.search(words)
    return None if found is None else Told(found["reason"], found["said"])


def unreached(words: str) -> bool:
    """Tell whether an autoscaler's words are those of an API server that does not reach the metrics server."""
    return _UNREACHED.search(words) is not None
