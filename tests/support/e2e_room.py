"""Room for more pods than the machine has cores for.

Our pods ask for as much CPU as they may use. Kubelets on one small machine each tell of all its cores, and that is too
little for two services of five replicas with their routers, though these are idle most of the time. Halved requests let
the scheduler place them; limits, what kubelet starts and what the operator has written stay as they are.
"""

import json
from typing import Any

from tests.cluster.cluster import Cluster
from tests.cluster.processes import wait_until

_NAME = "test-room.mooring.dev"
_LABELS = {_NAME: "halved"}
_REQUESTS = "object.spec.containers[0].resources.requests"


def halve_requests(cluster: Cluster, namespace: str) -> None:
    """Lets pods that are made in the namespace from now on ask for half of their CPU.

    Raises:
        ClusterError: the API server does not do so; those before 1.36 cannot.
    """
    cluster.apply(*_policy())
    cluster.kubectl("label", "namespace", namespace, *(f"{name}={value}" for name, value in _LABELS.items()))

    def is_halved() -> bool:
        argv = ["create", "--namespace", namespace, "--dry-run=server", "-f", "-", "-o", "json"]
        pod = json.loads(cluster.kubectl(*argv, stdin=json.dumps(_POD)))
        return bool(pod["spec"]["containers"][0]["resources"]["requests"]["cpu"] == "125m")

    # The API server hears of a policy a moment after it has stored it.
    wait_until(is_halved, 30, f"requests of pods in namespace {namespace} to be halved")


def _policy() -> list[dict[str, Any]]:
    kind = {"apiVersion": "admissionregistration.k8s.io/v1", "metadata": {"name": _NAME}}
    pods = {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]}
    half = f'string(quantity({_REQUESTS}["cpu"]).asApproximateFloat() / 2.0)'
    patch = f'[JSONPatch{{op: "replace", path: "/spec/containers/0/resources/requests/cpu", value: {half}}}]'
    where = {"namespaceSelector": {"matchLabels": _LABELS}}
    policy = {
        "matchConstraints": {"resourceRules": [pods]},
        "mutations": [{"patchType": "JSONPatch", "jsonPatch": {"expression": patch}}],
        "reinvocationPolicy": "Never",
        "failurePolicy": "Fail",
    }
    binding = {"policyName": _NAME, "matchResources": where}
    return [
        {**kind, "kind": "MutatingAdmissionPolicy", "spec": policy},
        {**kind, "kind": "MutatingAdmissionPolicyBinding", "spec": binding},
    ]


_POD: dict[str, Any] = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {"name": "asked"},
    "spec": {
        "securityContext": {"runAsNonRoot": True, "runAsUser": 1000, "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [
            {
                "name": "asked",
                "image": "none",
                "resources": {"requests": {"cpu": "250m"}, "limits": {"cpu": "250m"}},
                "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
            }
        ],
    },
}
