"""Every golden child is taken by a real API server as it stands, under Pod Security `restricted`, and then rests."""

import json
import secrets
from collections.abc import Iterator

import pytest

from mooring_operator.facts import Manifest
from tests.cluster.cluster import Cluster
from tests.cluster.processes import wait_until
from tests.support import foreign, golden

APPLY = ("apply", "--server-side", "--field-manager=mooring", "--validate=strict", "-o", "json", "-f", "-")


@pytest.fixture(scope="module", autouse=True)
def installed(control_plane: Cluster) -> Iterator[None]:
    """The kinds of KEDA and of the Prometheus operator, which some cases have."""
    with foreign.definitions(control_plane):
        yield


@pytest.fixture(scope="module")
def restricted(control_plane: Cluster) -> Iterator[str]:
    """A namespace that refuses every pod that is not `restricted`, and warns of templates of such pods."""
    name = f"test-{secrets.token_hex(4)}"
    levels = {f"pod-security.kubernetes.io/{mode}": "restricted" for mode in ("enforce", "warn")}
    control_plane.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": levels}})
    yield name
    control_plane.kubectl("delete", "namespace", name, "--wait=false")


def apply(cluster: Cluster, children: list[Manifest], *options: str) -> dict[tuple[str, str], Manifest]:
    """Apply as the operator does; return what stands then, by kind and name. Fails on a warning."""
    written = json.dumps({"apiVersion": "v1", "kind": "List", "items": children})
    done = cluster.run("kubectl", *APPLY, *options, stdin=written)
    assert done.stderr == ""
    stored = json.loads(done.stdout)
    return {(one["kind"], one["metadata"]["name"]): one for one in stored.get("items", [stored])}


def versions(stored: dict[tuple[str, str], Manifest]) -> dict[tuple[str, str], str]:
    return {key: manifest["metadata"]["resourceVersion"] for key, manifest in stored.items()}


@pytest.mark.parametrize("name", golden.case_names())
def test_children_are_admitted(name: str, control_plane: Cluster, restricted: str) -> None:
    children = golden.case(name, restricted).children()
    assert len(apply(control_plane, children, "--dry-run=server")) == len(children)


@pytest.mark.parametrize("name", golden.case_names())
def test_pods_are_admitted(name: str, control_plane: Cluster, restricted: str) -> None:
    """A template of a workload is only warned of; a pod is refused."""
    templates = [
        child["spec"]["template"]
        for child in golden.case(name, restricted).children()
        if child["kind"] in {"Deployment", "Job"}
    ]
    for template in templates:
        # What a pod names must exist: accounts and classes are not what is judged here.
        absent = {"serviceAccountName", "priorityClassName", "runtimeClassName"}
        spec = {field: value for field, value in template["spec"].items() if field not in absent}
        meta = {**template["metadata"], "name": name, "namespace": restricted}
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": spec}
        assert apply(control_plane, [pod], "--dry-run=server")


@pytest.mark.parametrize("name", golden.case_names())
def test_a_second_apply_changes_nothing(name: str, control_plane: Cluster, restricted: str) -> None:
    children = golden.case(name, restricted).children()
    for child in children:
        # Their owner does not exist: the garbage collector would take them away between the two applies.
        del child["metadata"]["ownerReferences"]
        # Each case has names of its own, so that none finds the objects of another.
        child["metadata"]["name"] = f"{name}-{child['metadata']['name']}"
    standing = versions(apply(control_plane, children))

    def rests() -> bool:
        # Controllers write the status at first, which makes new versions too; an apply that changes something
        # makes one each time.
        before = dict(standing)
        standing.update(versions(apply(control_plane, children)))
        return standing == before

    wait_until(rests, 20, f"the children of {name} to keep their resourceVersion when they are applied again")


def test_a_pod_that_is_not_restricted_draws_a_warning(control_plane: Cluster, restricted: str) -> None:
    """What the other tests rest on: this namespace does refuse and warn."""
    [deployment] = [child for child in golden.case("small", restricted).children() if child["kind"] == "Deployment"]
    del deployment["spec"]["template"]["spec"]["securityContext"]["seccompProfile"]
    with pytest.raises(AssertionError, match="seccompProfile"):
        apply(control_plane, [deployment], "--dry-run=server")
