"""What the spec asks of the server reaches it, and every protocol answers through the Service."""

from collections.abc import Callable

import numpy as np
import requests
import tritonclient.grpc as triton

from tests.support.e2e_service import Served
from tests.support.e2e_site import Site

Handles = Callable[[str], Served]


def test_http_and_grpc_clients_are_answered_by_batching_workers(site: Site, served: Handles) -> None:
    service = served("alpha")
    spec = site.spec("adder-1", batching={"maxSize": 4, "maxDelay": "1ms"}, runtime={"workers": 2})
    service.apply(**{**spec, "model": {**spec["model"], "warmup": 2}})
    service.ready()
    service.reach()
    [pod] = service.pods()
    assert service.ask() == 1
    with site.cluster.door(service.name, service.namespace, 80) as address:
        config = requests.get(f"http://{address}/v2/models/alpha/config", timeout=10).json()
        answer = requests.post(f"http://{address}/v1/models/alpha:predict", json={"instances": [1.0, 2.0]}, timeout=10)
    assert config["max_batch_size"] == 4
    assert answer.json() == {"predictions": [1001.0, 1002.0]}
    with (
        site.cluster.door(service.name, service.namespace, 8001) as address,
        triton.InferenceServerClient(address) as client,
    ):
        metadata = client.get_model_metadata("alpha")
        given = triton.InferInput(metadata.inputs[0].name, [2], metadata.inputs[0].datatype)
        given.set_data_from_numpy(np.array([3, 4], dtype=np.float32))
        result = client.infer("alpha", [given]).as_numpy(metadata.outputs[0].name)
    np.testing.assert_array_equal(result, [1003, 1004])
    address = pod["status"]["podIP"]
    with site.cluster.door_to("metrics", address, 8002) as metrics:
        page = requests.get(f"http://{metrics}/metrics", timeout=10).text
    labels = f'mooring_namespace="{service.namespace}",mooring_service="alpha"'
    assert f"mooring_workers{{{labels}}} 2.0" in page.splitlines()
