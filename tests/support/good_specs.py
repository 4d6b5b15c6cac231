"""Specs that are right, from the smallest to one for each corner; together they use every field."""

from collections.abc import Mapping
from typing import Any

from tests.support.specs import GOOD, OCI, SHA256, STATE

GOOD_SPECS: Mapping[str, dict[str, Any]] = {
    "the least": GOOD,
    "a claim": {"model": {"uri": "pvc://models/sentiment/model.onnx"}, "replicas": 1000, "suspend": True},
    "a store": {
        "model": {
            "uri": "https://store.example:8443/models/a%20b.onnx?version=3",
            "format": "onnx",
            "sha256": SHA256,
            "credentials": {"secretName": "store-token"},
            "warmup": 3,
        },
        "batching": {"maxSize": 32, "maxDelay": "2ms"},
    },
    "a hub": {"model": {"uri": "hf://organisation/repository@main/model.onnx"}},
    "a GPU": {
        "model": {"uri": OCI},
        "accelerator": {"type": "nvidia.com/mig-1g.10gb", "count": 2, "product": "NVIDIA-L40S", "minMemory": "40Gi"},
        "resources": {"cpu": "2500m", "memory": "1.5Gi"},
    },
    "a device class": {"model": {"uri": OCI}, "accelerator": {"deviceClass": "gpu.nvidia.com"}},
    "quantities that are numbers": {"model": {"uri": OCI}, "resources": {"cpu": 2, "memory": 4294967296}},
    "nulls are left out": {
        "model": {"uri": OCI, "format": None},
        "replicas": None,
        "resources": None,
        "pod": {"labels": None},
    },
    "empty objects": {
        "model": {"uri": OCI},
        "resources": {},
        "scaling": {},
        "runtime": {"args": [], "env": []},
        "pod": {},
    },
    "scaling": {
        "model": {"uri": OCI},
        "scaling": {
            "minReplicas": 2,
            "maxReplicas": 8,
            "latency": {"percentile": 99, "target": "80ms"},
            "queue": {"target": 4},
            "concurrency": {"target": 16},
            "cpu": {"target": 70, "force": True},
            "headroom": "50%",
            "loadTime": "1m30s",
            "behavior": {
                "scaleUp": {
                    "stabilizationWindowSeconds": 0,
                    "selectPolicy": "Max",
                    "policies": [
                        {"type": "Pods", "value": 4, "periodSeconds": 15},
                        {"type": "Percent", "value": 100, "periodSeconds": 15},
                    ],
                    "tolerance": "5%",
                },
                "scaleDown": {
                    "stabilizationWindowSeconds": 300,
                    "selectPolicy": "Disabled",
                    "policies": [{"type": "Pods", "value": 1, "periodSeconds": 60}],
                    "tolerance": "10%",
                },
            },
            "backend": "keda",
        },
    },
    "CPU beside another target where no requests share runs": {
        "model": {"uri": OCI},
        "batching": {"maxSize": 1},
        "scaling": {"maxReplicas": 2, "queue": {"target": 4}, "cpu": {"target": 70}},
    },
    "the least scaling": {"model": {"uri": OCI}, "scaling": {"maxReplicas": 1, "latency": {"target": "80ms"}}},
    "state": {
        "model": {"uri": OCI},
        "state": {
            "volume": {"size": "20Gi", "storageClassName": "fast"},
            "durability": {"mode": "interval", "interval": "50ms"},
            "sessionTTL": "8760h",
            "stateVersion": "2",
            "retention": {"whenDeleted": "Delete", "whenScaled": "Delete"},
            "drainTimeout": "1h30m",
            "maxSessionBytes": "20Gi",
            "maxSessions": 100000,
            "converter": "convert-1-to-2.onnx",
        },
    },
    "the least state": {"model": {"uri": OCI}, "state": STATE},
    "code on load": {
        "model": {"uri": OCI, "format": "torchscript"},
        "runtime": {"variant": "torch", "allowUnsafeFormats": True, "workers": 2, "queue": 256},
    },
    "an image": {
        "model": {"uri": OCI},
        "runtime": {
            "image": "registry.example/mine/server:2@sha256:" + SHA256,
            "args": ["--verbose"],
            "env": [{"name": "OMP_NUM_THREADS", "value": "4"}, {"name": "EMPTY"}],
        },
    },
    "a pod": {
        "model": {"uri": OCI},
        "pod": {
            "labels": {"kueue.x-k8s.io/queue-name": "gpus", "team": ""},
            "annotations": {"sidecar.istio.io/inject": "true"},
            "nodeSelector": {"cloud.example/pool": "gpu"},
            "tolerations": [
                {"operator": "Exists"},
                {"key": "gpu", "value": "yes", "effect": "NoExecute", "tolerationSeconds": 30},
            ],
            "imagePullSecrets": [{"name": "registry"}],
            "serviceAccountName": "models",
            "priorityClassName": "high",
            "runtimeClassName": "gvisor",
            "topologySpread": [
                {"topologyKey": "topology.kubernetes.io/zone", "maxSkew": 2, "whenUnsatisfiable": "DoNotSchedule"},
                {"topologyKey": "topology.kubernetes.io/zone"},
            ],
        },
        "rollout": {"maxUnavailable": 0, "progressDeadline": "15m"},
    },
}
