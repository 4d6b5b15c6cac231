"""What both sides stand on: a control plane of the bench's own, the chart's rights, services and namespaces."""

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import yaml

from mooring_operator.api import names
from mooring_operator.cluster import kinds
from tests.bench.operator.audit import Tail
from tests.bench.operator.client import Client, Manifest, in_flight
from tests.bench.operator.process import cpu_of
from tests.cluster import assets, lifecycle
from tests.cluster.cluster import Cluster
from tests.cluster.places import state_folder
from tests.cluster.processes import components
from tests.support import chart

SERVICES = 200
QUIET = 3.0
"""Seconds without a write after which the controllers have nothing left to do."""
SETTLE_SECONDS = 300
OPERATOR = "mooring-operator"
USER = f"system:serviceaccount:{chart.NAMESPACE}:{OPERATOR}"


class NotMeasuredError(Exception):
    """A figure could not be taken; the message says why."""


@dataclass(frozen=True)
class Ground:
    """A control plane with the CRD and the operator's account, and the environment that the chart gives to its pod."""

    cluster: Cluster
    kubeconfig: Path
    """Of the operator's account: all of its rights, and no other."""
    env: dict[str, str]

    def tail(self) -> Tail:
        """The audit log from now on."""
        return Tail(self.cluster.state / "audit.log")

    def cpu(self) -> dict[str, float]:
        """Seconds of CPU that each part of the control plane has used, and this process (`bench`)."""
        parts = {part.name: cpu_of(part.pid) for part in components(self.cluster.state) if part.alive()}
        return {**parts, "bench": time.process_time()}

    async def settle(self) -> None:
        """Wait until nobody writes any more. Raises `NotMeasuredError` when that takes too long."""
        tail, deadline = self.tail(), time.monotonic() + SETTLE_SECONDS
        quiet_since = time.monotonic()
        while time.monotonic() - quiet_since < QUIET:
            await asyncio.sleep(0.2)
            if tail.writes():
                quiet_since = time.monotonic()
            if time.monotonic() > deadline:
                raise NotMeasuredError(f"the cluster did not come to rest within {SETTLE_SECONDS} s")


@contextmanager
def ground(name: str) -> Iterator[Ground]:
    """Start a control plane of that name, install what the chart installs but its pods; take it down at the end."""
    state = state_folder(name)
    with lifecycle.held(state):
        assets.build()
        cluster = lifecycle.up(name, state)
        try:
            yield _install(cluster)
        finally:
            lifecycle.down(state)


def service(name: str, port: int = 443) -> Manifest:
    """Return a service whose model comes from a store at `port`; a change of it reaches two of its children."""
    model = {"uri": f"https://models.example.com:{port}/{name}/model.onnx", "sha256": "0123456789abcdef" * 4}
    return {"apiVersion": names.API_VERSION, "kind": names.KIND, "metadata": {"name": name}, "spec": {"model": model}}


def service_names() -> list[str]:
    """Return the names of all services of the bench."""
    return [f"model-{number:03}" for number in range(SERVICES)]


async def make_namespace(client: Client, namespace: str) -> None:
    """Make a namespace, and wait until pods are accepted in it."""
    await client.create("/api/v1/namespaces", {"metadata": {"name": namespace}})
    await _until(client, kinds.SERVICE_ACCOUNT.path(namespace, "default"), exists=True)


async def drop_namespace(client: Client, namespace: str) -> None:
    """Delete a namespace, and wait until all that was in it is gone."""
    await client.delete(f"/api/v1/namespaces/{namespace}")
    await _until(client, f"/api/v1/namespaces/{namespace}", exists=False)


async def make_services(client: Client, namespace: str) -> None:
    """Create all services at once."""
    path = kinds.INFERENCE_SERVICE.path(namespace)
    await in_flight(service_names(), lambda name: client.create(path, service(name)))


async def _until(client: Client, path: str, exists: bool) -> None:
    while True:
        if await client.exists(path) == exists:
            return
        await asyncio.sleep(0.2)


def _install(cluster: Cluster) -> Ground:
    manifests = chart.render(assets.folder() / "helm")
    deployment = chart.one(manifests, "Deployment")
    # No node would run the chart's own pods; the operator runs beside the cluster, as one of them.
    wanted = [manifest for manifest in manifests if manifest is not deployment]
    cluster.kubectl("create", "namespace", chart.NAMESPACE)
    definitions = [manifest for manifest in wanted if manifest["kind"] == "CustomResourceDefinition"]
    cluster.kubectl("apply", "--server-side", "-f", "-", stdin=yaml.safe_dump_all(definitions))
    for definition in definitions:
        cluster.kubectl("wait", "--for=condition=Established", f"crd/{definition['metadata']['name']}")
    rest = [manifest for manifest in wanted if manifest not in definitions]
    cluster.kubectl("apply", "--server-side", "--namespace", chart.NAMESPACE, "-f", "-", stdin=yaml.safe_dump_all(rest))
    kubeconfig = cluster.token_kubeconfig(chart.NAMESPACE, OPERATOR)
    variables = deployment["spec"]["template"]["spec"]["containers"][0]["env"]
    env = {
        **cluster.env(),
        **{variable["name"]: variable["value"] for variable in variables if "value" in variable},
        "MOORING_NAMESPACE": chart.NAMESPACE,
        "MOORING_POD_NAME": "bench",
        "KUBECONFIG": str(kubeconfig),
    }
    return Ground(cluster, kubeconfig, env)
