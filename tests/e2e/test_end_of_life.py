"""What is deleted leaves nothing, and what the operator's own end means for those who are served."""

import time
from collections.abc import Callable

from tests.cluster import prepared
from tests.cluster.processes import wait_until
from tests.demo import install
from tests.support.e2e_service import Served, restarts, uid_of
from tests.support.e2e_site import Site
from tests.support.e2e_watch import condition, is_true, reasons

Handles = Callable[[str], Served]
RESOURCE = "gpu.intel.com/xe"
KINDS = (
    "deployments,replicasets,pods,services,endpointslices,serviceaccounts,poddisruptionbudgets,networkpolicies,"
    "horizontalpodautoscalers,jobs,inferenceservices"
)


def test_delete_removes_every_child(site: Site, served: Handles) -> None:
    prepared.set_extended_resources(site.cluster, "node0", {RESOURCE: 1})
    try:
        service = served("alpha")
        gpu = {"accelerator": {"type": RESOURCE}, "runtime": {"variant": "onnx"}}
        # Without a metrics server it never scales; that is told, and is no reason not to be ready.
        scaled = {"scaling": {"maxReplicas": 2, "cpu": {"target": 60}}}
        service.apply(**site.spec("adder-1", **gpu, **scaled))
        service.ready()
        # No node has this image: its check cannot end, and so stands when the service is deleted.
        service.apply(model={"uri": "oci://localhost/models/nowhere:dev"}, **gpu, **scaled)
        with service.watch() as watch:
            watch.until(lambda live: "Pull" in condition(live, "ModelReady")["reason"], 30, "to miss the image")
        before = left(service)
        kinds = {name.partition("/")[0].partition(".")[0] for name in before}
        assert {
            "deployment",
            "replicaset",
            "pod",
            "service",
            "job",
            "networkpolicy",
            "horizontalpodautoscaler",
        } <= kinds
        service.delete()
        began = time.monotonic()
        wait_until(lambda: not left(service), 30, "the children to go")
        print(f"\n{len(before)} objects were gone {time.monotonic() - began:.1f} s after the service")
    finally:
        prepared.set_extended_resources(site.cluster, "node0", {RESOURCE: None})


def left(service: Served) -> list[str]:
    """What stands in the namespace, besides what every namespace has."""
    found = service.kubectl("get", KINDS, "-o", "name").split()
    return [name for name in found if name != "serviceaccount/default"]


def test_requests_and_a_rollout_go_on_while_the_operator_is_away(site: Site, served: Handles) -> None:
    service = served("alpha")
    service.apply(**site.spec("adder-1", replicas=2))
    service.ready()
    with service.load(1, 2) as load, service.watch() as watch:
        service.apply(**site.spec("adder-2", replicas=2))
        watch.until(lambda live: "RollingOut" in reasons(watch, "Reconciling"), 30, "to roll")
        site.delete_operator_pods()
        watch.until(is_true("Ready"), 90, "to be served by a new leader")
        wait_until(lambda: len(service.pods()) == 2, 60, "two pods")
    load.check("a rollout whose operator was taken away")
    assert load.report["answers"]["2"]


def test_an_upgrade_of_the_operator_touches_no_service(site: Site, served: Handles) -> None:
    service = served("alpha")
    service.apply(**site.spec("adder-1"))
    service.ready()
    before, generation = service.pods(), service.deployment()["metadata"]["generation"]
    leader = site.leader()
    with service.watch() as watch:
        watch.until(is_true("Ready"), 10, "to be ready")
        release = ["upgrade", install.RELEASE, str(install.CHART), "--namespace", install.OPERATOR_NAMESPACE]
        site.cluster.helm(*release, "--reuse-values", "--set=log.level=DEBUG", "--wait", "--timeout=2m", timeout=150)
        wait_until(lambda: site.leader() not in {"", leader}, 30, "another leader")
        # The new leader acts: what is changed now is done by it.
        service.kubectl("scale", "infsvc/alpha", "--replicas=2")
        watch.until(lambda live: live["status"]["readyReplicas"] == 2, 60, "to have two pods")
        ready = {condition(live, "Ready")["status"] for live in watch.states if live}
    assert ready <= {"True", "Unknown"}, "Ready flapped"
    assert restarts(before[0]) == 0
    assert uid_of(before[0]) in map(uid_of, service.pods())
    # One generation more: the replicas that were asked for.
    assert service.deployment()["metadata"]["generation"] == generation + 1
