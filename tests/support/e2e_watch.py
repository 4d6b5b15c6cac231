"""Everything that the API server tells about one object, in order: what a test waits for, and what it looks back on."""

import json
import subprocess
import threading
import time
from collections.abc import Callable
from typing import Any

from tests.cluster.cluster import Cluster

Manifest = dict[str, Any]


class Watch:
    """The states of one object from now on, by `kubectl get --watch`; a context manager.

    `states` holds each state that was told, also those between two looks; None stands for "deleted".
    """

    def __init__(self, cluster: Cluster, kind: str, namespace: str, name: str) -> None:
        self.what = f"{kind} {namespace}/{name}"
        self.states: list[Manifest | None] = []
        self._changed = threading.Condition()
        argv = ["kubectl", "get", kind, "--namespace", namespace, f"--field-selector=metadata.name={name}"]
        self._process = subprocess.Popen(
            cluster.command(*argv, "--watch", "--output-watch-events", "-o", "json"),
            env=cluster.env(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)

    def __enter__(self) -> "Watch":
        self._reader.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait()
        self._reader.join()
        for pipe in (self._process.stdout, self._process.stderr):
            if pipe is not None:
                pipe.close()

    def until(self, condition: Callable[[Manifest], bool], seconds: float, what: str) -> Manifest:
        """Waits until the newest state meets the condition, and returns that state.

        Raises:
            AssertionError: none did in time; the message holds the last conditions.
        """
        deadline = time.monotonic() + seconds
        with self._changed:
            while True:
                newest = self.states[-1] if self.states else None
                if newest is not None and condition(newest):
                    return newest
                left = deadline - time.monotonic()
                if left <= 0 or not self._changed.wait(left):
                    raise AssertionError(f"waited {seconds:.0f} s for {self.what} {what}:\n{told(newest)}")

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:  # each holds one event whole
            event = json.loads(line)
            with self._changed:
                self.states.append(None if event["type"] == "DELETED" else event["object"])
                self._changed.notify_all()


def condition(live: Manifest, kind: str) -> Manifest:
    """The condition of that type, if it speaks of the present spec; else an empty one."""
    for found in conditions(live):
        if found["type"] == kind and found.get("observedGeneration") == live["metadata"]["generation"]:
            return dict(found)
    return {"type": kind, "status": "Unknown", "reason": "", "message": ""}


def is_true(kind: str) -> Callable[[Manifest], bool]:
    """Whether a condition of the present spec holds."""
    return lambda live: bool(condition(live, kind)["status"] == "True")


def reasons(watch: Watch, kind: str) -> list[str]:
    """The reasons that a condition has had, in order."""
    found = [one["reason"] for live in watch.states if live for one in conditions(live) if one["type"] == kind]
    return [reason for number, reason in enumerate(found) if number == 0 or reason != found[number - 1]]


def conditions(live: Manifest) -> list[Manifest]:
    """All conditions of an object, whatever generation they speak of."""
    return list(live.get("status", {}).get("conditions", ()))


def told(live: Manifest | None) -> str:
    """The conditions of an object, one a line, for a message."""
    if live is None:
        return "it does not exist"
    return "\n".join(
        f"  {one['type']}={one['status']} {one.get('reason', '')} (generation {one.get('observedGeneration')} of "
        f"{live['metadata']['generation']}): {one.get('message', '')}"
        for one in conditions(live)
    )
