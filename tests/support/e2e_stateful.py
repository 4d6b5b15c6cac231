"""One stateful service on the cluster, its replicas and its clients."""

import json
import os
import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tests.cluster import cgroups
from tests.faults.history import Answer, from_json
from tests.support import e2e_site
from tests.support.e2e_service import Served, uid_of
from tests.support.e2e_site import Site
from tests.support.e2e_watch import Manifest, Watch, is_true


@dataclass(frozen=True)
class Stateful(Served):
    """A service with `spec.state`; it may not exist yet."""

    @property
    def host(self) -> str:
        """The name that its clients know."""
        return f"{self.name}.{self.namespace}.svc"

    def record(self) -> Manifest:
        """The membership record."""
        return record_in(self.cluster.get("configmap", f"{self.name}-membership", "--namespace", self.namespace))

    def replicas(self) -> dict[int, Manifest]:
        """Its pods by ordinal, those that are going included."""
        return {int(pod["metadata"]["labels"]["apps.kubernetes.io/pod-index"]): pod for pod in self.pods()}

    def settled(self, size: int, seconds: float = 90) -> tuple[float, float]:
        """Waits until every session is where it should be under so many members, and these are ready; returns when the
        record had that size first, and when every session was there: between the two they move.

        It watches: asking again and again would slow the very moves that it waits for.

        Raises:
            AssertionError: it took longer; the message holds the last record and what the cluster tells.
        """
        told: Manifest = {}

        def is_resized(live: Manifest) -> bool:
            told.update(record_in(live))
            return bool(told["size"] == size)

        try:
            with Watch(self.cluster, "configmap", self.namespace, f"{self.name}-membership") as watch:
                watch.until(is_resized, seconds, f"to have {size} members")
                since = time.monotonic()
                watch.until(lambda live: is_resized(live) and not told["past"], seconds, f"to settle at {size} members")
                until = time.monotonic()
            self.settled_pods(size, seconds)
            with self.watch() as watch:
                watch.until(is_true("Ready"), seconds, "to be ready")
        except AssertionError as error:
            raise AssertionError(f"{error}\nrecord: {told}\n{self.account()}") from None
        return since, until

    def settled_pods(self, size: int, seconds: float = 90) -> None:
        """Waits until so many pods are ready, and there are no others."""

        def is_whole(live: Manifest) -> bool:
            status = live.get("status", {})
            return {size} == {status.get("replicas"), status.get("readyReplicas"), live["spec"]["replicas"]}

        with Watch(self.cluster, "statefulset", self.namespace, self.name) as watch:
            watch.until(is_whole, seconds, f"to have {size} ready pods and no other")

    def stateful_set(self) -> Manifest:
        """Its StatefulSet."""
        return self.cluster.get("statefulset", self.name, "--namespace", self.namespace)

    def scale(self, size: int) -> None:
        """As a person does it."""
        self.kubectl("scale", f"infsvc/{self.name}", f"--replicas={size}")

    def holders(self) -> dict[str, int]:
        """The ordinal that holds each live session, as the replicas themselves tell."""
        addresses = {str(ordinal): pod["status"]["podIP"] for ordinal, pod in self.replicas().items()}
        found: dict[str, int] = json.loads(
            self.cluster.run(sys.executable, "-c", _HOLDERS, stdin=json.dumps(addresses), timeout=60).stdout
        )
        return found

    def step(self, session: str, *, start: bool = False) -> Answer:
        """One step of a session, or the first of a new one, through the router; patience for a moment only."""
        told = self.cluster.run(sys.executable, "-c", _STEP, self.host, session, "start" if start else "", timeout=30)
        return from_json(told.stdout).answer

    def kill(self, component: str, name: str) -> float:
        """kill -9 for every process of a pod's container; kubelet starts it anew. Returns when that was."""
        pod = self.cluster.get("pod", name, "--namespace", self.namespace)
        [identity] = [each["containerID"] for each in pod["status"]["containerStatuses"] if each["name"] == component]
        processes = cgroups.container(self.cluster.state, identity.rpartition("/")[2])
        assert processes, f"no process of {name} runs"
        for process in processes:
            os.kill(process, signal.SIGKILL)
        return time.monotonic()

    def crash(self, ordinal: int) -> tuple[float, float]:
        """Kills a replica as above; returns when that was, and when its pod was ready again."""
        name = f"{self.name}-{ordinal}"
        with Watch(self.cluster, "pod", self.namespace, name) as watch:
            before = watch.until(ready, 30, "to be ready")
            killed = self.kill("server", name)
            watch.until(lambda pod: ready(pod) and boots(pod) > boots(before), 60, "to be ready after the crash")
            return killed, time.monotonic()

    def tracebacks(self) -> list[str]:
        """What the logs of its replicas tell that nobody expected, those of crashed containers included."""
        found = []
        for pod in self.replicas().values():
            name = pod["metadata"]["name"]
            for former in ((), ("--previous",)):
                log = self.kubectl("logs", name, *former, check=False)
                found += [f"{name}: {line[:2000]}" for line in log.splitlines() if '"traceback"' in line]
        return found

    def account(self) -> str:
        """See `Served`."""
        kinds = "statefulsets,persistentvolumeclaims,configmaps,services"
        found = self.kubectl("get", kinds, "-o", "wide", check=False)
        routers = self.kubectl("logs", "-l", "app.kubernetes.io/component=router", "--tail=20", "--prefix", check=False)
        operator = ["logs", "--namespace", e2e_site.OPERATOR_NAMESPACE, "-l", "app.kubernetes.io/component=operator"]
        log = self.cluster.kubectl(*operator, "--tail=15", "--prefix", check=False)
        return f"{super().account()}\n{found}\n--- routers\n{routers}\n--- operators\n{log}"


def record_in(configmap: Manifest) -> Manifest:
    """The membership record that a ConfigMap holds."""
    record: Manifest = json.loads(configmap["data"]["record.json"])
    return record


def ready(pod: Manifest) -> bool:
    """Whether a pod answers and is not on its way out."""
    conditions = pod.get("status", {}).get("conditions", ())
    answers = any(one["type"] == "Ready" and one["status"] == "True" for one in conditions)
    return answers and "deletionTimestamp" not in pod["metadata"]


def boots(pod: Manifest) -> int:
    """How often kubelet has started its containers anew."""
    return sum(container["restartCount"] for container in pod["status"].get("containerStatuses", ()))


def uids(pods: dict[int, Manifest]) -> dict[int, str]:
    """What tells each pod from another one of its ordinal."""
    return {ordinal: uid_of(pod) for ordinal, pod in pods.items()}


def spec(site: Site, model: str, **fields: Any) -> Manifest:
    """The spec of a small stateful service."""
    return site.spec(model, **{"state": {"volume": {"size": "64Mi"}}, **fields})


def wait_for_doors(service: Stateful) -> None:
    """Waits until both ports of the client Service take connections."""
    reach = "from tests.support.e2e_load import reach; import sys; reach(sys.argv[1], 60); reach(sys.argv[2], 60)"
    urls = [f"http://{service.host}:{port}" for port in (80, 8001)]
    service.cluster.run(sys.executable, "-c", reach, *urls, timeout=150)


def names(pods: Sequence[Manifest]) -> list[str]:
    """The names of pods."""
    return sorted(pod["metadata"]["name"] for pod in pods)


_STEP = """
import asyncio, secrets, sys
from tests.faults.doors import Http
from tests.faults.history import Op, Step
from tests.faults.ledger import MODULUS
host, session, start = sys.argv[1:]
step = Step(session, 1 + secrets.randbelow(MODULUS - 1), start=bool(start))
async def ask():
    door = Http(80, host=host)
    print(Op("one", step, await door.ask(step, 5.0), 1, 2).to_json())
    await door.close()
asyncio.run(ask())
"""
_HOLDERS = """
import http.client, json, sys
holders = {}
for ordinal, address in json.load(sys.stdin).items():
    token = ""
    while token is not None:
        line = http.client.HTTPConnection(address, 8000, timeout=10)
        line.request("GET", "/v2/sessions?local=true&state=active&limit=1000" + (token and "&page_token=" + token))
        page = json.loads(line.getresponse().read())
        for one in page["sessions"]:
            assert holders.setdefault(one["id"], int(ordinal)) == int(ordinal), one
        token = page.get("next_page_token")
json.dump(holders, sys.stdout)
"""
