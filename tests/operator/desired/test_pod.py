from dataclasses import replace
from typing import Any

import pytest

from mooring_operator import desired
from mooring_operator.api import names
from mooring_operator.api.quantities import quantity
from mooring_operator.facts import Manifest, Service, Step
from tests.support import builders

HTTPS = {"uri": "https://store.example/a/model.onnx", "sha256": builders.SHA256}


def template(service: Service) -> Manifest:
    [found] = [c for c in desired.children(service, builders.cluster(), Step()) if c["kind"] == "Deployment"]
    made: Manifest = found["spec"]["template"]
    return made


def server(service: Service) -> Manifest:
    [found] = template(service)["spec"]["containers"]
    made: Manifest = found
    return made


def environment(container: Manifest) -> dict[str, str]:
    return {variable["name"]: variable["value"] for variable in container["env"]}


def test_users_labels_and_annotations_never_override_ours() -> None:
    # The schema refuses them; a cluster may hold an object that an older one let in.
    theirs = {names.LABEL_SERVICE: "other", names.LABEL_COMPONENT: "check", "team": "nlp"}
    notes = {names.ANNOTATION_TEMPLATE_HASH: "theirs", "note": "kept"}
    service = builders.service()
    pod = service.spec.pod.model_copy(update={"labels": theirs, "annotations": notes})
    service = replace(service, spec=service.spec.model_copy(update={"pod": pod}))
    meta = template(service)["metadata"]
    assert meta["labels"][names.LABEL_SERVICE] == "sentiment"
    assert meta["labels"][names.LABEL_COMPONENT] == names.COMPONENT_SERVER
    assert meta["labels"]["team"] == "nlp"
    assert meta["annotations"]["note"] == "kept"
    assert meta["annotations"][names.ANNOTATION_TEMPLATE_HASH] == desired.template_hash(service, builders.cluster())


def test_variables_are_sorted_and_the_users_come_after_ours() -> None:
    env = [{"name": "Z", "value": "1"}, {"name": "A", "value": "2"}]
    found = [variable["name"] for variable in server(builders.service(runtime={"env": env}))["env"]]
    assert found[-2:] == ["A", "Z"]
    assert found[:-2] == sorted(found[:-2])
    assert all(name.startswith("MOORING_") for name in found[:-2])


def test_the_fetcher_hears_of_the_users_authorities() -> None:
    service = builders.service(model=HTTPS, runtime={"env": [{"name": "SSL_CERT_FILE", "value": "/etc/ours.pem"}]})
    [fetcher] = template(service)["spec"]["initContainers"]
    assert environment(fetcher)["SSL_CERT_FILE"] == "/etc/ours.pem"


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, {"cpu": "1", "memory": "256Mi"}),
        ({"cpu": "500m", "memory": "100Mi"}, {"cpu": "500m", "memory": "100Mi"}),
        ({"cpu": 4, "memory": 268435457}, {"cpu": "1", "memory": "256Mi"}),
    ],
)
def test_the_fetcher_asks_for_no_more_than_the_server(given: dict[str, Any], expected: dict[str, str]) -> None:
    [fetcher] = template(builders.service(model=HTTPS, resources=given))["spec"]["initContainers"]
    assert fetcher["resources"] == {"limits": expected, "requests": expected}


def test_only_the_fetcher_sees_the_credentials_and_only_it_can_write_the_model() -> None:
    spec = template(builders.service(model={**HTTPS, "credentials": {"secretName": "store"}}))["spec"]
    [fetcher], [serving] = spec["initContainers"], spec["containers"]
    assert {"name": "credentials", "secret": {"secretName": "store", "defaultMode": 0o440}} in spec["volumes"]
    assert environment(fetcher)[names.ENV_CREDENTIALS_DIR] == names.CREDENTIALS_DIR
    assert "credentials" not in {mount["name"] for mount in serving["volumeMounts"]}
    assert names.ENV_CREDENTIALS_DIR not in environment(serving)
    assert names.ENV_MODEL_URI not in environment(serving)  # a query string may be a secret
    [written] = [mount for mount in fetcher["volumeMounts"] if mount["name"] == "model"]
    [read] = [mount for mount in serving["volumeMounts"] if mount["name"] == "model"]
    assert "readOnly" not in written
    assert read["readOnly"] is True


@pytest.mark.parametrize(
    ("model", "path", "digest"),
    [
        ({"uri": "oci://registry.example/a/b:1"}, "/models", None),
        ({"uri": "oci://registry.example/a/b:1", "sha256": builders.SHA256}, "/models", builders.SHA256),
        ({"uri": "pvc://claim.with.dots/a/b.onnx", "sha256": builders.SHA256}, "/models/a/b.onnx", builders.SHA256),
        ({**HTTPS, "uri": "https://h.example/x/a%20b.onnx?k=v/w"}, "/models/a b.onnx", None),
    ],
)
def test_where_the_server_finds_the_model(model: dict[str, str], path: str, digest: str | None) -> None:
    env = environment(server(builders.service(model=model)))
    assert env[names.ENV_MODEL_PATH] == path
    assert env.get(names.ENV_MODEL_SHA256) == digest


def test_image_volume_and_claim() -> None:
    [model, _] = template(builders.service(model={"uri": "oci://registry.example/a/b:1"}))["spec"]["volumes"]
    assert model == {"name": "model", "image": {"reference": "registry.example/a/b:1", "pullPolicy": "IfNotPresent"}}
    [model, _] = template(builders.service(model={"uri": "pvc://claim/a"}))["spec"]["volumes"]
    assert model == {"name": "model", "persistentVolumeClaim": {"claimName": "claim", "readOnly": True}}


@pytest.mark.parametrize(("memory", "expected"), [("1Gi", "512Mi"), ("3G", "1430Mi"), ("1Mi", "1Mi"), (2**30, "512Mi")])
def test_shared_memory_is_half_of_the_memory_and_comes_with_an_accelerator(memory: str | int, expected: str) -> None:
    service = builders.service(accelerator={"type": "nvidia.com/gpu"}, resources={"memory": memory})
    [shm] = [volume for volume in template(service)["spec"]["volumes"] if volume["name"] == "shm"]
    assert shm["emptyDir"] == {"medium": "Memory", "sizeLimit": expected}
    assert quantity(expected) <= max(quantity(memory), quantity("1Mi"))
    assert {"name": "shm", "mountPath": "/dev/shm"} in server(service)["volumeMounts"]
    assert "shm" not in {volume["name"] for volume in template(builders.service())["spec"]["volumes"]}


def test_the_start_up_budget_is_the_rollouts() -> None:
    probes = server(builders.service(rollout={"progressDeadline": "1m30s"}))
    start = probes["startupProbe"]
    assert start["periodSeconds"] * start["failureThreshold"] == 90
    assert start["httpGet"]["path"] == names.PATH_READY
    assert probes["livenessProbe"]["httpGet"]["path"] == names.PATH_LIVE


def test_the_grace_period_leaves_time_after_the_drain() -> None:
    service = builders.service()
    drain = float(environment(server(service))[names.ENV_DRAIN_SECONDS])
    assert template(service)["spec"]["terminationGracePeriodSeconds"] >= drain + 20


def test_replicas_spread_over_zones_and_hosts_as_far_as_possible() -> None:
    service = builders.service()
    spec = template(service)["spec"]
    [zones] = spec["topologySpreadConstraints"]
    assert (zones["topologyKey"], zones["whenUnsatisfiable"]) == ("topology.kubernetes.io/zone", "ScheduleAnyway")
    [hosts] = spec["affinity"]["podAntiAffinity"]["preferredDuringSchedulingIgnoredDuringExecution"]
    assert hosts["podAffinityTerm"]["topologyKey"] == "kubernetes.io/hostname"
    for one in (zones, hosts["podAffinityTerm"]):
        assert one["labelSelector"]["matchLabels"] == desired.pod_selector(service)
        assert one["matchLabelKeys"] == ["pod-template-hash"]


def test_a_spread_of_the_users_own_takes_the_place_of_ours() -> None:
    own = {"topologySpread": [{"topologyKey": "rack", "maxSkew": 3, "whenUnsatisfiable": "DoNotSchedule"}]}
    spec = template(builders.service(pod=own))["spec"]
    [constraint] = spec["topologySpreadConstraints"]
    assert (constraint["topologyKey"], constraint["maxSkew"]) == ("rack", 3)
    assert constraint["labelSelector"]["matchLabels"] == desired.pod_selector(builders.service())
    assert "affinity" not in spec
    assert not {"topologySpreadConstraints", "affinity"} & set(
        template(builders.service(pod={"topologySpread": []}))["spec"]
    )


def test_a_toleration_that_we_have_is_not_repeated() -> None:
    theirs = [{"key": "nvidia.com/gpu", "operator": "Exists"}, {"key": "dedicated", "value": "x"}]
    service = builders.service(accelerator={"type": "nvidia.com/gpu"}, pod={"tolerations": theirs})
    assert template(service)["spec"]["tolerations"] == [
        {"key": "nvidia.com/gpu", "operator": "Exists"},
        {"key": "dedicated", "operator": "Equal", "value": "x"},
    ]
