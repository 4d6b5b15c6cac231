from typing import Any

import pytest

from mooring_operator import desired
from mooring_operator.facts import Manifest, Service, Step
from tests.support import builders


def children(accelerator: dict[str, Any], **pod: Any) -> dict[str, Manifest]:
    service = builders.service(accelerator=accelerator, pod=pod)
    return {child["kind"]: child for child in desired.children(service, builders.cluster(), Step())}


def pod_of(accelerator: dict[str, Any], **pod: Any) -> Manifest:
    spec: Manifest = children(accelerator, **pod)["Deployment"]["spec"]["template"]["spec"]
    return spec


def node_expressions(spec: Manifest) -> list[Manifest]:
    terms = spec["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]["nodeSelectorTerms"]
    assert len(terms) == 1  # several terms would be alternatives
    found: list[Manifest] = terms[0]["matchExpressions"]
    return found


@pytest.mark.parametrize(
    "kind",
    [
        "nvidia.com/gpu",
        "nvidia.com/gpu.shared",
        "nvidia.com/mig-1g.10gb",
        "amd.com/gpu",
        "gpu.intel.com/i915",
        "gpu.intel.com/xe",
        "habana.ai/gaudi",
        "aws.amazon.com/neuron",
        "aws.amazon.com/neuroncore",
        "google.com/tpu",
        "example.com/npu",
    ],
)
def test_every_resource_name_gets_limits_and_its_toleration(kind: str) -> None:
    spec = pod_of({"type": kind, "count": 4})
    [server] = spec["containers"]
    assert server["resources"]["limits"][kind] == server["resources"]["requests"][kind] == "4"
    assert {"key": kind, "operator": "Exists"} in spec["tolerations"]
    assert "nodeAffinity" not in spec["affinity"]


def test_product_and_memory_must_hold_on_one_node() -> None:
    spec = pod_of({"type": "nvidia.com/gpu", "product": "NVIDIA-L40S", "minMemory": "40Gi"})
    assert node_expressions(spec) == [
        {"key": "nvidia.com/gpu.product", "operator": "In", "values": ["NVIDIA-L40S"]},
        {"key": "nvidia.com/gpu.memory", "operator": "Gt", "values": ["40959"]},
    ]


def test_a_tpus_product_stands_where_its_provider_looks() -> None:
    spec = pod_of({"type": "google.com/tpu", "product": "tpu-v6e-slice"}, nodeSelector={"pool": "a"})
    assert spec["nodeSelector"] == {"pool": "a", "cloud.google.com/gke-tpu-accelerator": "tpu-v6e-slice"}


def claim(accelerator: dict[str, Any]) -> Manifest:
    return children(accelerator)["ResourceClaimTemplate"]


def request(accelerator: dict[str, Any]) -> Manifest:
    [found] = claim(accelerator)["spec"]["spec"]["devices"]["requests"]
    exactly: Manifest = found["exactly"]
    return exactly


def test_dra_claims_instead_of_limits() -> None:
    wanted = {"deviceClass": "gpu.nvidia.com", "count": 2}
    spec = pod_of(wanted)
    [server] = spec["containers"]
    assert set(server["resources"]["limits"]) == {"cpu", "memory"}
    [pod_claim], [container_claim] = spec["resourceClaims"], server["resources"]["claims"]
    assert pod_claim["name"] == container_claim["name"]
    assert pod_claim["resourceClaimTemplateName"] == claim(wanted)["metadata"]["name"]
    assert request(wanted) == {"deviceClassName": "gpu.nvidia.com", "allocationMode": "ExactCount", "count": 2}


def test_dra_asks_devices_by_their_drivers_attributes() -> None:
    wanted = {"deviceClass": "gpu.nvidia.com", "product": "NVIDIA-L40S", "minMemory": "40Gi"}
    product, memory = (selector["cel"]["expression"] for selector in request(wanted)["selectors"])
    assert product == (
        '"productName" in device.attributes[device.driver] && '
        'device.attributes[device.driver].productName.replace(" ", "-") == "NVIDIA-L40S"'
    )
    assert memory == (
        '"memory" in device.capacity[device.driver] && '
        'device.capacity[device.driver].memory.compareTo(quantity("40Gi")) >= 0'
    )
    [intel] = request({"deviceClass": "gpu.intel.com", "product": "A770"})["selectors"]
    assert "attributes[device.driver].model." in intel["cel"]["expression"]


def test_a_claim_template_is_never_changed_but_followed_by_another() -> None:
    wanted = {"deviceClass": "gpu.nvidia.com", "product": "NVIDIA-L40S"}
    name = claim(wanted)["metadata"]["name"]
    assert claim(wanted)["metadata"]["name"] == name
    assert claim({**wanted, "product": "NVIDIA-H100"})["metadata"]["name"] != name
    assert claim({**wanted, "count": 2})["metadata"]["name"] != name
    assert "ResourceClaimTemplate" in desired.KEPT_KINDS


def test_dra_needs_a_cluster_that_has_it() -> None:
    service: Service = builders.service(accelerator={"deviceClass": "gpu.nvidia.com"})
    with pytest.raises(ValueError, match=r"spec\.accelerator\.deviceClass: this cluster does not serve"):
        desired.children(service, builders.cluster(dra=False), Step())
