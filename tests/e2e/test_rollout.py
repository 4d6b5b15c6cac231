"""A new version reaches the clients of a service without one failed request, and a bad one never reaches them."""

from collections.abc import Callable

import pytest

from tests.cluster.processes import wait_until
from tests.support.e2e_service import Served, restarts, uid_of
from tests.support.e2e_site import Site
from tests.support.e2e_watch import condition, is_true

Handles = Callable[[str], Served]


def settled(service: Served, pods: int) -> None:
    """Waits until the service has so many pods, those that are going included: the last of a change is the drain."""
    wait_until(lambda: len(service.pods()) == pods, 60, f"{service.name} to have {pods} pods")


def test_a_new_version_rolls_without_a_failed_request(site: Site, served: Handles, long: bool) -> None:
    service = served("alpha")
    service.apply(**site.spec("adder-1", replicas=2))
    service.ready()
    with service.load(1, 2) as load:
        for version in (2, 1) * 10 if long else (2,):
            service.apply(**site.spec(f"adder-{version}", replicas=2))
            service.ready()
            settled(service, 2)
    load.check("a new version under load")
    assert load.report["answers"]["1"]
    assert load.report["answers"]["2"]
    assert load.report["connections"] > 100


def test_scaling_down_loses_no_request(site: Site, served: Handles) -> None:
    service = served("alpha")
    service.apply(**site.spec("adder-1", replicas=3))
    service.ready()
    wait_until(lambda: service.live()["status"]["readyReplicas"] == 3, 60, "three pods")
    with service.load(1) as load:
        service.kubectl("scale", "infsvc/alpha", "--replicas=1")
        settled(service, 1)
    load.check("three pods to one under load")


@pytest.mark.parametrize(
    ("change", "reason", "says"),
    [
        pytest.param({"model": "garbage"}, "ModelInvalid", "model.onnx", id="a file that is no model"),
        pytest.param({"sha256": "0" * 64}, "DigestMismatch", "0" * 64, id="a file with another digest"),
    ],
)
def test_a_bad_version_leaves_the_last_one_serving(
    site: Site, served: Handles, change: dict[str, str], reason: str, says: str
) -> None:
    service = served("alpha")
    service.apply(**site.spec("adder-1"))
    service.ready()
    [before] = service.pods()
    bad = site.spec(change.get("model", "adder-2"))
    bad["model"] |= {"sha256": change["sha256"]} if "sha256" in change else {}
    with service.load(1) as load, service.watch() as watch:
        service.apply(**bad)
        stalled = watch.until(is_true("Stalled"), 60, "to say that the version failed")
        assert condition(stalled, "Ready")["status"] == "False"
        assert condition(stalled, "WorkloadReady")["status"] == "True"
        assert condition(stalled, "ModelReady")["reason"] == reason
        assert says in condition(stalled, "ModelReady")["message"]
        assert reason in condition(stalled, "Stalled")["message"]
        assert uid_of(before) in map(uid_of, service.pods())
        # The right spec goes on from here, without a hand on anything.
        service.apply(**site.spec("adder-1"))
        watch.until(is_true("Ready"), 60, "to serve the earlier version again")
    load.check(f"a version with {reason}")
    [after] = [pod for pod in service.pods() if "deletionTimestamp" not in pod["metadata"]]
    assert uid_of(after) == uid_of(before)
    assert restarts(after) == 0
    print(f"\n{reason}: {condition(stalled, 'Stalled')['message']}")
