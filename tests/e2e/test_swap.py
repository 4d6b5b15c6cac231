"""No accelerator to spare: a new version is checked first, swapped with a stated gap, and rolled back by itself.

Each test takes another resource name: else it would wait until the pods of the one before have ended.
"""

import random
import time
from collections.abc import Callable, Iterator

import pytest

from tests.cluster import prepared
from tests.cluster.processes import wait_until
from tests.support.e2e_service import Served, restarts, uid_of
from tests.support.e2e_site import Site
from tests.support.e2e_watch import Manifest, condition, is_true, reasons

NODE = "node0"
Handles = Callable[[str], Served]
Accelerators = Callable[[str, int], str]


@pytest.fixture
def accelerators(site: Site) -> Iterator[Accelerators]:
    """Gives a node so many of a resource; they are taken away afterwards."""
    given: list[str] = []

    def give(resource: str, count: int) -> str:
        given.append(resource)
        prepared.set_extended_resources(site.cluster, NODE, {resource: count})
        return resource

    yield give
    prepared.set_extended_resources(site.cluster, NODE, dict.fromkeys(given))


def on(resource: str) -> Manifest:
    """Fields of a spec that takes one of the resource and still runs on a CPU: nothing stands behind it here."""
    return {"accelerator": {"type": resource}, "runtime": {"variant": "onnx"}}


def rejected(live: Manifest) -> bool:
    return bool(condition(live, "Stalled")["reason"] == "VersionRejected")


def test_a_bad_model_is_rejected_before_the_only_pod_is_taken(
    site: Site, served: Handles, accelerators: Accelerators
) -> None:
    gpu = on(accelerators("nvidia.com/gpu", 1))
    service = served("alpha")
    service.apply(**site.spec("adder-1", **gpu))
    service.ready()
    [before] = service.pods()
    with service.load(1) as load, service.watch() as watch:
        service.apply(**site.spec("garbage", **gpu))
        live = watch.until(rejected, 60, "to reject the version")
        assert "CheckingModel" in reasons(watch, "Reconciling")
    load.check("a bad version without an accelerator to spare")
    [after] = service.pods()
    assert (uid_of(after), restarts(after)) == (uid_of(before), 0)
    assert condition(live, "WorkloadReady")["status"] == "True"
    assert condition(live, "Ready")["reason"] == "VersionRejected"
    message = condition(live, "Stalled")["message"]
    for words in ("ModelInvalid", "The last good version goes on serving", "Change the spec"):
        assert words in message
    assert "VersionRejected" in {event["reason"] for event in service.events()}


def test_a_good_model_is_swapped_with_a_stated_gap(site: Site, served: Handles, accelerators: Accelerators) -> None:
    gpu = on(accelerators("amd.com/gpu", 1))
    service = served("alpha")
    service.apply(**site.spec("adder-1", **gpu))
    revision = service.ready()["status"]["modelRevision"]
    with service.watch() as watch:
        service.apply(**site.spec("adder-2", **gpu))
        live = watch.until(is_true("Ready"), 90, "to serve the new version")
        assert {"CheckingModel", "SwappingWithGap"} <= set(reasons(watch, "Reconciling"))
    assert live["status"]["modelRevision"] != revision
    assert service.ask() == 2
    told = {event["reason"]: event["message"] for event in service.events()}
    assert "with one replica nothing answers until the new pod is ready" in told["SwappingWithGap"]


def test_what_fails_only_in_serving_is_rolled_back_even_if_the_operator_dies(
    site: Site, served: Handles, accelerators: Accelerators, long: bool
) -> None:
    gpu = on(accelerators("habana.ai/gaudi", 1))
    service = served("alpha")
    for attempt in range(10 if long else 1):
        if attempt:
            site.renew_operator()
        service.apply(**site.spec("adder-1", **gpu))
        service.ready()
        bad = site.spec("adder-2", **gpu)
        # The check does not read the server's arguments. Another one each time: what failed once is remembered.
        bad["runtime"] = {**bad["runtime"], "args": [f"--no-such-flag-{attempt}"]}
        with service.watch() as watch:
            service.apply(**bad)
            if long:
                time.sleep(random.uniform(0, 12))
            else:
                watch.until(lambda live: "SwappingWithGap" in reasons(watch, "Reconciling"), 60, "to swap")
            site.kill_operator()
            live = watch.until(
                lambda live: rejected(live) and condition(live, "WorkloadReady")["status"] == "True",
                150,
                "to serve the last good version again",
            )
        assert service.ask() == 1
        message = condition(live, "Stalled")["message"]
        assert f"unrecognized arguments: --no-such-flag-{attempt}" in message
        assert "The last good version goes on serving" in message
    assert {"RolledBack", "VersionRejected"} & {event["reason"] for event in service.events()}
    # The one good version and those that failed; nothing else was ever tried.
    replica_sets = service.cluster.get("replicasets", "--namespace", service.namespace)["items"]
    assert len(replica_sets) == attempt + 2
    print(f"\n{message}")


def test_two_replicas_roll_on_a_full_pool_without_a_failed_request(
    site: Site, served: Handles, accelerators: Accelerators
) -> None:
    gpu = on(accelerators("example.com/npu", 2))
    service = served("alpha")
    service.apply(**site.spec("adder-1", replicas=2, **gpu))
    service.ready()
    wait_until(lambda: service.live()["status"]["readyReplicas"] == 2, 60, "two pods")
    with service.load(1, 2) as load:
        service.apply(**site.spec("adder-2", replicas=2, **gpu))
        service.ready(90)
        wait_until(lambda: service.live()["status"]["readyReplicas"] == 2, 60, "two pods")
    load.check("a rollout of two replicas on a full pool")
    assert service.ask() == 2
