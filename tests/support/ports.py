"""Ports for servers of tests that are started later, and again at the same place after a kill."""

import random
import socket

# Below the range that the kernel hands out. Between our look and the server's start, and while a test keeps the server
# down, no connection of another test can have such a port.
_RANGE = range(10_000, 32_768)
# Not the generator that tests seed: two runs side by side would try the same ports in the same order.
_DICE = random.SystemRandom()
_TRIES = 1000
_given: set[int] = set()


def free_ports(count: int) -> list[int]:
    """Ports that are free on every address of this machine; this process is given none of them twice.

    Raises:
        AssertionError: hardly any is free.
    """
    found: list[int] = []
    for _ in range(_TRIES):
        if len(found) == count:
            return found
        port = _DICE.choice(_RANGE)
        if port not in _given and is_free(port):
            _given.add(port)
            found.append(port)
    raise AssertionError(f"{count} free ports: found only {len(found)} in {_TRIES} tries; who has them all?")


def free_port() -> int:
    """One such port."""
    [port] = free_ports(1)
    return port


def is_free(port: int) -> bool:
    """Whether nobody has a port, on any address of this machine."""
    with socket.socket() as probe:
        try:
            probe.bind(("0.0.0.0", port))
        except OSError:
            return False
    return True
