"""The real scheduler puts a pod of each kind of accelerator on the one node that fits, or says why it cannot."""

import contextlib
import secrets
from collections.abc import Iterator
from typing import Any

import pytest

from mooring_operator import desired
from mooring_operator.api.accelerators import node_matches
from mooring_operator.facts import Manifest, Service, Step
from tests.cluster.cluster import Cluster
from tests.cluster.places import ClusterError
from tests.cluster.processes import wait_until
from tests.support import accelerators, builders
from tests.support.accelerators import MACHINES, PENDING, PLACED

MARK = f"accelerators-{secrets.token_hex(3)}"
"""Label of this run's nodes, which its pods select: other tests' nodes are none of their business."""


@pytest.fixture(scope="module")
def pods(control_plane: Cluster) -> Iterator[dict[str, Manifest]]:
    """What the scheduler has made of one pod a case, all at once, on nodes that say they are ready."""
    control_plane.kubectl("create", "namespace", MARK)
    control_plane.kubectl("create", "serviceaccount", "default", "-n", MARK, check=False)
    with accelerators.machines(control_plane, MARK):
        wanted = {name: accelerator for name, (accelerator, _) in (PLACED | PENDING).items()}
        control_plane.apply(*(child for name, one in wanted.items() for child in children(name, one)))
        found: dict[str, Manifest] = {}

        def settled() -> bool:
            found.update({pod["metadata"]["name"]: pod for pod in control_plane.get("pods", "-n", MARK)["items"]})
            verdicts = {name: verdict(found.get(name, {})) for name in wanted}
            return all(verdicts[name] == f"{MARK}-{machine}" for name, (_, machine) in PLACED.items()) and all(
                said in verdicts[name] for name, (_, said) in PENDING.items()
            )

        # When it does not settle each case tells its own part.
        with contextlib.suppress(ClusterError):
            wait_until(settled, 30, "the scheduler")
        yield found
    control_plane.kubectl("delete", "namespace", MARK, "--wait=false")


@pytest.mark.parametrize("name", PLACED)
def test_it_lands_on_the_node_that_fits(name: str, pods: dict[str, Manifest]) -> None:
    assert verdict(pods[name]) == f"{MARK}-{PLACED[name][1]}"


@pytest.mark.parametrize("name", PENDING)
def test_it_waits_where_no_node_fits(name: str, pods: dict[str, Manifest]) -> None:
    assert "nodeName" not in pods[name]["spec"]
    assert PENDING[name][1] in verdict(pods[name])


@pytest.mark.parametrize("name", [name for name in PLACED | PENDING if not name.startswith("dra-")])
def test_the_planner_sees_what_the_scheduler_sees(name: str, pods: dict[str, Manifest]) -> None:
    wanted = service(name, (PLACED | PENDING)[name][0]).spec.accelerator
    assert wanted is not None
    fits = {
        f"{MARK}-{machine}"
        for machine, one in MACHINES.items()
        if one.resources.get(wanted.type or "", 0) >= wanted.count and node_matches(wanted, one.labels)
    }
    placed = pods[name]["spec"].get("nodeName")
    assert fits == ({placed} if placed else set())


def verdict(pod: Manifest) -> str:
    """Return the node of a pod, or what the scheduler says of it; empty while it has said nothing."""
    if placed := pod.get("spec", {}).get("nodeName"):
        return str(placed)
    conditions = pod.get("status", {}).get("conditions", ())
    return next((one.get("message", "") for one in conditions if one.get("reason") == "Unschedulable"), "")


def service(name: str, accelerator: dict[str, Any]) -> Service:
    model = {"uri": "oci://registry.example/models/sentiment:v3"}
    return builders.service(
        name, namespace=MARK, model=model, accelerator=accelerator, pod={"nodeSelector": accelerators.selector(MARK)}
    )


def children(name: str, accelerator: dict[str, Any]) -> list[Manifest]:
    """Return a pod of the service's template, and the template of its claim."""
    made = {child["kind"]: child for child in desired.children(service(name, accelerator), builders.cluster(), Step())}
    template = made["Deployment"]["spec"]["template"]
    # An account of its own would have to exist first, and nothing depends on it here.
    spec = {key: value for key, value in template["spec"].items() if key != "serviceAccountName"}
    meta = {**template["metadata"], "name": name, "namespace": MARK}
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": spec}
    claim = made.get("ResourceClaimTemplate")
    if claim is None:
        return [pod]
    del claim["metadata"]["ownerReferences"]
    return [claim, pod]
