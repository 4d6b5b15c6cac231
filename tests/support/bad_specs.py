"""Wrong specs, and what their author is told: by the API server, and again by the operator and `render`.

Each case is a plain good spec with one thing wrong. A rule of the schema's own dialect (type, range, enum, required)
is told by the API server in its words, and by us in ours; a rule of Mooring is told by both in the same.
"""

from collections.abc import Mapping

from tests.support.bad_values import BAD_VALUES
from tests.support.specs import GOOD, STATE, Bad, BadChange, but, model, stateful

CONTRADICTIONS = (
    Bad("https without a digest", model(uri="https://store.example/m.onnx"), "spec.model.sha256", "needs sha256"),
    Bad(
        "credentials for a claim",
        {"model": {"uri": "pvc://claim/m.onnx", "credentials": {"secretName": "a"}}},
        "spec.model.credentials",
        "credentials are for https:// models",
    ),
    Bad(
        "two kinds of accelerator",
        but(accelerator={"type": "nvidia.com/gpu", "deviceClass": "gpu.nvidia.com"}),
        "spec.accelerator",
        "set exactly one of type (device plugin) and deviceClass (DRA)",
    ),
    Bad("no kind of accelerator", but(accelerator={"count": 2}), "spec.accelerator", "set exactly one of type"),
    Bad(
        "a minimum above the maximum",
        but(scaling={"minReplicas": 3, "maxReplicas": 2, "cpu": {"target": 50}}),
        "spec.scaling.minReplicas",
        "minReplicas must not be above maxReplicas",
    ),
    Bad("a maximum without a target", but(scaling={"maxReplicas": 2}), "spec.scaling.maxReplicas", "say by what"),
    Bad(
        "a target without a maximum",
        but(scaling={"cpu": {"target": 50}}),
        "spec.scaling.maxReplicas",
        "set maxReplicas",
    ),
    Bad(
        "no replicas",
        but(scaling={"minReplicas": 0, "maxReplicas": 2, "cpu": {"target": 50}}),
        "spec.scaling.minReplicas",
        "scaling to zero is not built yet",
    ),
    Bad(
        "CPU beside another target where requests share runs",
        but(scaling={"maxReplicas": 2, "latency": {"target": "80ms"}, "cpu": {"target": 50}}),
        "spec.scaling.cpu",
        "CPU is busy at any load",
    ),
    Bad("a minimum without a maximum", but(scaling={"minReplicas": 3}), "spec.scaling.maxReplicas", "set maxReplicas"),
    Bad(
        "an interval without its mode",
        stateful(durability={"interval": "50ms"}),
        "spec.state.durability.interval",
        "set interval with mode: interval, and only then",
    ),
    Bad(
        "a mode without its interval",
        stateful(durability={"mode": "interval"}),
        "spec.state.durability.interval",
        "set interval with mode: interval, and only then",
    ),
    Bad(
        "a session larger than its volume",
        stateful(maxSessionBytes="21Gi"),
        "spec.state.maxSessionBytes",
        "one session must fit on the volume",
    ),
    Bad(
        "several processes over one volume",
        but(state=STATE, runtime={"workers": 2}),
        "spec.runtime.workers",
        "belongs to one process",
    ),
    Bad(
        "a stateful rollout of several replicas at a time",
        but(state=STATE, rollout={"maxUnavailable": 2}),
        "spec.rollout.maxUnavailable",
        "one at a time",
    ),
    Bad(
        "a format that runs code",
        model(format="torchscript"),
        "spec.model.format",
        "use onnx, or set runtime.allowUnsafeFormats: true",
    ),
    Bad(
        "a variant that cannot run the format",
        {**model(format="onnx"), "runtime": {"variant": "torch"}},
        "spec.runtime.variant",
        "leave runtime.variant out, it follows from the format",
    ),
    Bad(
        "an image and a variant",
        but(runtime={"image": "registry.example/mine:1", "variant": "onnx"}),
        "spec.runtime.variant",
        "set image or variant, not both",
    ),
    Bad(
        "a toleration of nothing",
        but(pod={"tolerations": [{"operator": "Equal"}]}),
        "spec.pod.tolerations[0].operator",
        "a toleration without a key needs operator: Exists",
    ),
    Bad(
        "a value that is not compared",
        but(pod={"tolerations": [{"key": "gpu", "operator": "Exists", "value": "a"}]}),
        "spec.pod.tolerations[0].value",
        "a value needs operator: Equal",
    ),
    Bad(
        "seconds without an eviction",
        but(pod={"tolerations": [{"key": "gpu", "operator": "Exists", "tolerationSeconds": 30}]}),
        "spec.pod.tolerations[0].tolerationSeconds",
        "tolerationSeconds needs effect: NoExecute",
    ),
)

UNKNOWN = (
    Bad("a field that is not there", but(replica=2), "spec.replica", "unknown field", "did you mean replicas?"),
    Bad(
        "an attribute's name",
        but(scaling={"max_replicas": 2}),
        "spec.scaling.max_replicas",
        "unknown field",
        "maxReplicas?",
    ),
    Bad(
        "a host path",
        but(pod={"hostPath": "/"}),
        "spec.pod.hostPath",
        "unknown field",
        "no such field: known are labels, annotations, nodeSelector",
    ),
    Bad(
        "a secret as a value",
        but(runtime={"env": [{"name": "A", "valueFrom": {}}]}),
        "spec.runtime.env[0].valueFrom",
        "unknown field",
        "did you mean value?",
    ),
)

BAD: tuple[Bad, ...] = (*BAD_VALUES, *CONTRADICTIONS, *UNKNOWN)

CHANGES = (
    BadChange("state added", GOOD, stateful(), "spec.state", "a service is stateful or stateless for life"),
    BadChange("state removed", stateful(), GOOD, "spec.state", "make a new service under another name"),
    BadChange("state set to null", stateful(), but(state=None), "spec.state", "make a new service under another name"),
    BadChange(
        "another storage class",
        stateful(),
        stateful(volume={"size": "20Gi", "storageClassName": "slow"}),
        "spec.state.volume.storageClassName",
        "the storage class of existing volumes cannot be changed: make a new service",
    ),
    BadChange(
        "the storage class left out",
        stateful(),
        stateful(volume={"size": "20Gi"}),
        "spec.state.volume.storageClassName",
        "the storage class of existing volumes cannot be changed: make a new service",
    ),
    BadChange(
        "a storage class given later",
        stateful(volume={"size": "20Gi"}),
        stateful(),
        "spec.state.volume.storageClassName",
        "the storage class of existing volumes cannot be changed: make a new service",
    ),
    BadChange(
        "a smaller volume",
        stateful(),
        stateful(volume={"size": "19Gi", "storageClassName": "fast"}),
        "spec.state.volume.size",
        "a volume can only grow: it is 20Gi now",
    ),
)

BAD_NAMES: Mapping[str, str] = {
    "begins with a digit": "2sentiment",
    "holds a dot": "sentiment.v2",
    "41 characters": "a" * 41,
}
"""Names that the API server itself would take."""
