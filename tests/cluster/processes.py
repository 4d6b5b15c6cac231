"""Starts the processes of a cluster, remembers them, and stops exactly these.

`<state>/<name>.pid.json` holds a component's command line, process id and start time. Process ids are
recycled: a process is ours only if its start time (and the machine's boot) is the one written down,
or if it carries the mark of `places.MARK` in its environment.
"""

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from .places import MARK, ClusterError


@dataclass(frozen=True)
class Component:
    """One started process: its command line and what tells it from a later one with the same id."""

    name: str
    argv: list[str]
    pid: int
    start: int
    boot: str

    def alive(self) -> bool:
        return self.boot == _boot() and _start_time(self.pid) == self.start


def start(state: Path, name: str, argv: Sequence[str], env: Mapping[str, str] | None = None) -> Component:
    """Starts a component in a session of its own; its output goes to `<state>/<name>.log`.

    A shell starts it and ends at once, so the component is no child of this process: it outlives
    it, and leaves it no zombie to reap.
    """
    script = 'setsid "$@" < /dev/null >> "$COMPONENT_LOG" 2>&1 & echo $!'
    environment = {**os.environ, **(env or {}), MARK: str(state), "COMPONENT_LOG": str(state / f"{name}.log")}
    argv = list(argv)
    launched = subprocess.run(
        ["sh", "-c", script, name, *argv], cwd=state, env=environment, stdout=subprocess.PIPE, text=True, check=True
    )
    pid = int(launched.stdout)
    component = Component(name, argv, pid, _start_time(pid) or 0, _boot())
    record = state / f"{name}.pid.new"
    record.write_text(json.dumps(asdict(component), indent=1))
    record.rename(state / f"{name}.pid.json")
    return component


def find(state: Path, name: str) -> Component:
    """The component as it was last started; it may have died since.

    Raises:
        ClusterError: no such component was ever started.
    """
    try:
        return Component(**json.loads((state / f"{name}.pid.json").read_text()))
    except (OSError, ValueError, TypeError) as error:
        raise ClusterError(f"{state.name}: no component {name!r} was started ({error})") from error


def components(state: Path) -> list[Component]:
    """Every component that was started in `state`, dead ones included."""
    found = []
    for record in sorted(state.glob("*.pid.json")):
        try:
            found.append(Component(**json.loads(record.read_text())))
        except (ValueError, TypeError):
            continue  # a crash cut it short; the mark finds its process
    return found


def stop(component: Component, how: signal.Signals = signal.SIGKILL, timeout: float = 30.0) -> None:
    """Sends the signal, if the process is still that one, and waits until it is gone.

    Raises:
        ClusterError: it is still there after `timeout` seconds.
    """
    if component.alive():
        os.kill(component.pid, how)
    wait_until(lambda: not component.alive(), timeout, f"{component.name} (process {component.pid}) to end")


def forget(state: Path, component: Component) -> None:
    """Removes the record and the log of a component that was stopped for good."""
    for suffix in (".pid.json", ".log"):
        (state / f"{component.name}{suffix}").unlink(missing_ok=True)


def kill_all(state: Path, extra: Callable[[], set[int]] = set) -> None:
    """Kills every process of the cluster, and those that `extra` names, until none is left.

    Nothing ends gracefully: the state is thrown away, and an API server drains for a minute.
    """

    def left() -> set[int]:
        recorded = {component.pid for component in components(state) if component.alive()}
        return (recorded | marked(state) | extra()) - _lineage()

    def none_left() -> bool:
        for pid in (pids := left()):
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        return not pids

    wait_until(none_left, 30.0, f"the processes of {state.name} to end")


def marked(state: Path) -> set[int]:
    """The living processes whose environment carries the cluster's mark."""
    return {pid for pid, value in marks().items() if value == str(state)}


def marks() -> dict[int, str]:
    """Each living process that belongs to some cluster, with that cluster's state folder."""
    prefix = f"{MARK}=".encode()
    found = {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            environment = (entry / "environ").read_bytes().split(b"\0")
        except OSError:
            continue  # it has ended, or it is another user's
        value = next((item.removeprefix(prefix) for item in environment if item.startswith(prefix)), None)
        if value is not None and _start_time(int(entry.name)) is not None:
            found[int(entry.name)] = os.fsdecode(value)
    return found


def wait_until(condition: Callable[[], bool], timeout: float, what: str) -> None:
    """Waits until the condition holds; it is asked every 50 ms.

    Raises:
        ClusterError: it did not hold within `timeout` seconds; the message names `what`.
    """
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > deadline:
            raise ClusterError(f"waited {timeout:.0f} s for {what}")
        time.sleep(0.05)


def _lineage() -> set[int]:
    """This process and its ancestors: `down` from a shell inside the cluster must not kill that shell."""
    pids, pid = set(), os.getpid()
    while pid > 0:
        pids.add(pid)
        fields = _stat(pid)
        pid = int(fields[1]) if fields else 0
    return pids


def _start_time(pid: int) -> int | None:
    """Clock ticks from boot to the start of a process; None when it is gone or a zombie.

    A killed process whose first thread has ended is shown as a zombie while its other threads still hold its sockets:
    an API server that was started then would find its port taken, and end.
    """
    fields = _stat(pid)
    return int(fields[19]) if fields and (fields[0] != "Z" or int(fields[17]) > 1) else None


def _stat(pid: int) -> list[str] | None:
    """The fields of /proc/PID/stat from the state letter on; the name before them may hold spaces and brackets."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None


def _boot() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
