"""Which fields are ours: against `managedFields` as a real API server (1.37) wrote them."""

import copy
from typing import Any

import pytest

from mooring_operator.cluster.ownership import digest, fields_of, managers_of, owns, whose
from mooring_operator.facts import Manifest

CONTAINER: Manifest = {
    "name": "server",
    "image": "x/y:1",
    "args": ["serve"],
    "env": [{"name": "A", "value": "1"}, {"name": "E", "value": ""}],
    "ports": [{"name": "http", "containerPort": 8000}],
    "resources": {"limits": {"cpu": "1000m"}},
    "securityContext": {"capabilities": {"drop": ["ALL"]}},
}
MANIFEST: Manifest = {
    "apiVersion": "apps/v1",
    "kind": "Deployment",
    "metadata": {"name": "fx", "namespace": "models", "labels": {"a": "b"}, "annotations": {"q": "1"}},
    "spec": {
        "replicas": 1,
        "selector": {"matchLabels": {"app": "fx"}},
        "template": {
            "metadata": {"labels": {"app": "fx"}},
            "spec": {
                "tolerations": [{"key": "x", "operator": "Exists"}],
                "volumes": [{"name": "tmp", "emptyDir": {}}],
                "imagePullSecrets": [{"name": "s"}],
                "containers": [CONTAINER],
            },
        },
    },
}
FIELDS: dict[str, Any] = {
    "f:metadata": {"f:annotations": {"f:q": {}}, "f:labels": {"f:a": {}}},
    "f:spec": {
        "f:replicas": {},
        "f:selector": {},
        "f:template": {
            "f:metadata": {"f:labels": {"f:app": {}}},
            "f:spec": {
                "f:containers": {
                    'k:{"name":"server"}': {
                        ".": {},
                        "f:args": {},
                        "f:env": {
                            'k:{"name":"A"}': {".": {}, "f:name": {}, "f:value": {}},
                            'k:{"name":"E"}': {".": {}, "f:name": {}, "f:value": {}},
                        },
                        "f:image": {},
                        "f:name": {},
                        "f:ports": {
                            'k:{"containerPort":8000,"protocol":"TCP"}': {".": {}, "f:containerPort": {}, "f:name": {}}
                        },
                        "f:resources": {"f:limits": {"f:cpu": {}}},
                        "f:securityContext": {"f:capabilities": {"f:drop": {}}},
                    }
                },
                "f:imagePullSecrets": {'k:{"name":"s"}': {}},
                "f:tolerations": {},
                "f:volumes": {'k:{"name":"tmp"}': {".": {}, "f:emptyDir": {}, "f:name": {}}},
            },
        },
    },
}
POD = ("f:spec", "f:template", "f:spec")
SERVER = (*POD, "f:containers", 'k:{"name":"server"}')


def without(*path: str) -> dict[str, Any]:
    """The fields less one; as on the server, a parent of which nothing is left goes with it."""
    fields = copy.deepcopy(FIELDS)
    for length in range(len(path), 0, -1):
        *parents, last = path[:length]
        at = fields
        for part in parents:
            at = at[part]
        del at[last]
        if at:
            break
    return fields


def test_what_was_applied_is_ours() -> None:
    assert owns(MANIFEST, FIELDS)


@pytest.mark.parametrize(
    "path",
    [
        ("f:metadata", "f:labels"),
        ("f:metadata", "f:annotations", "f:q"),
        ("f:spec", "f:replicas"),
        (*POD, "f:tolerations"),
        (*POD, "f:imagePullSecrets", 'k:{"name":"s"}'),
        (*POD, "f:volumes", 'k:{"name":"tmp"}', "f:emptyDir"),
        SERVER,
        (*SERVER, "f:image"),
        (*SERVER, "f:env", 'k:{"name":"E"}'),
        (*SERVER, "f:env", 'k:{"name":"A"}', "f:value"),
        (*SERVER, "f:ports", 'k:{"containerPort":8000,"protocol":"TCP"}', "f:name"),
        (*SERVER, "f:resources", "f:limits", "f:cpu"),
    ],
    ids=lambda path: ".".join(path[-2:]),
)
def test_a_field_that_someone_took_is_not_ours(path: tuple[str, ...]) -> None:
    assert not owns(MANIFEST, without(*path))


def test_an_object_that_we_never_applied_is_not_ours() -> None:
    assert not owns(MANIFEST, {})
    assert not owns({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "a"}}, {})


def test_an_item_of_a_set_is_ours_by_its_value() -> None:
    manifest = {"metadata": {"name": "a", "finalizers": ["x/y"]}}
    assert owns(manifest, {"f:metadata": {"f:finalizers": {".": {}, 'v:"x/y"': {}}}})
    assert not owns(manifest, {"f:metadata": {"f:finalizers": {".": {}, 'v:"z"': {}}}})


def test_a_null_is_no_field() -> None:
    assert owns({"metadata": {"name": "a", "creationTimestamp": None}, "spec": {"x": 1}}, {"f:spec": {"f:x": {}}})


def test_fields_are_those_of_the_manager_and_not_of_its_other_writes() -> None:
    entries = [
        {"manager": "mooring", "operation": "Update", "fieldsV1": {"f:spec": {"f:a": {}}}},
        {"manager": "mooring", "operation": "Apply", "subresource": "status", "fieldsV1": {"f:status": {}}},
        {"manager": "mooring", "operation": "Apply", "fieldsV1": {"f:spec": {"f:b": {}}}},
        {"manager": "other", "operation": "Apply", "fieldsV1": {"f:spec": {"f:c": {}}}},
    ]
    manifest: Manifest = {"metadata": {"managedFields": entries}}
    assert fields_of(manifest, "mooring") == {"f:spec": {"f:b": {}}}
    assert fields_of(manifest, "nobody") == {}
    assert fields_of({"metadata": {}}, "mooring") == {}
    assert managers_of(manifest, ("spec", "b")) == {"mooring"}
    assert managers_of(manifest, ("spec", "c")) == {"other"}
    assert managers_of(manifest, ("spec", "missing", "deep")) == frozenset()


def test_the_digest_follows_content_and_not_order() -> None:
    assert digest({"a": 1, "b": {"c": 2, "d": 3}}) == digest({"b": {"d": 3, "c": 2}, "a": 1})
    assert digest({"a": 1}) != digest({"a": 2})
    assert len(digest({})) == 16


def test_whose_an_object_is() -> None:
    def owned(**reference: Any) -> Manifest:
        return {"metadata": {"ownerReferences": [{"kind": "Release", "name": "theirs", "uid": "2", **reference}]}}

    assert whose(owned(uid="1", controller=True), "1") == ""
    assert whose(owned(controller=True), "1") == "Release theirs"
    assert whose(owned(uid="1"), "1") == "nobody (it has no controller)"
    assert whose({"metadata": {}}, "1") == "nobody (it has no controller)"
