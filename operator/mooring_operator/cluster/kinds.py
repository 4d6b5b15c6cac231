"""The kinds that the operator reads or writes, with their places in the API."""

from typing import Final, NamedTuple
from urllib.parse import quote

from ..api import names
from ..facts import Service


class Kind(NamedTuple):
    """One resource of the API server."""

    group: str
    """Empty for the core group."""
    version: str
    plural: str
    kind: str
    namespaced: bool = True

    @property
    def api_version(self) -> str:
        """`apiVersion` of its objects."""
        return f"{self.group}/{self.version}" if self.group else self.version

    def path(self, namespace: str | None, name: str | None = None, subresource: str | None = None) -> str:
        """Return the path of the collection, of one object or of its subresource, quoted."""
        parts = ["/apis", self.group, self.version] if self.group else ["/api", self.version]
        if self.namespaced and namespace:
            parts += ["namespaces", quote(namespace, safe="")]
        parts.append(self.plural)
        if name is not None:
            parts.append(quote(name, safe=""))
        if subresource is not None:
            parts.append(subresource)
        return "/".join(parts)


INFERENCE_SERVICE: Final = Kind(names.GROUP, names.VERSION, names.PLURAL, names.KIND)
DEPLOYMENT: Final = Kind("apps", "v1", "deployments", "Deployment")
REPLICA_SET: Final = Kind("apps", "v1", "replicasets", "ReplicaSet")
STATEFUL_SET: Final = Kind("apps", "v1", "statefulsets", "StatefulSet")
CONTROLLER_REVISION: Final = Kind("apps", "v1", "controllerrevisions", "ControllerRevision")
SERVICE: Final = Kind("", "v1", "services", "Service")
SERVICE_ACCOUNT: Final = Kind("", "v1", "serviceaccounts", "ServiceAccount")
CONFIG_MAP: Final = Kind("", "v1", "configmaps", "ConfigMap")
SECRET: Final = Kind("", "v1", "secrets", "Secret")
PERSISTENT_VOLUME_CLAIM: Final = Kind("", "v1", "persistentvolumeclaims", "PersistentVolumeClaim")
STORAGE_CLASS: Final = Kind("storage.k8s.io", "v1", "storageclasses", "StorageClass", namespaced=False)
CSI_DRIVER: Final = Kind("storage.k8s.io", "v1", "csidrivers", "CSIDriver", namespaced=False)
POD_DISRUPTION_BUDGET: Final = Kind("policy", "v1", "poddisruptionbudgets", "PodDisruptionBudget")
NETWORK_POLICY: Final = Kind("networking.k8s.io", "v1", "networkpolicies", "NetworkPolicy")
HORIZONTAL_POD_AUTOSCALER: Final = Kind("autoscaling", "v2", "horizontalpodautoscalers", "HorizontalPodAutoscaler")
SCALED_OBJECT: Final = Kind("keda.sh", "v1alpha1", "scaledobjects", "ScaledObject")
SERVICE_MONITOR: Final = Kind("monitoring.coreos.com", "v1", "servicemonitors", "ServiceMonitor")
JOB: Final = Kind("batch", "v1", "jobs", "Job")
RESOURCE_CLAIM_TEMPLATE: Final = Kind("resource.k8s.io", "v1", "resourceclaimtemplates", "ResourceClaimTemplate")
POD: Final = Kind("", "v1", "pods", "Pod")
NODE: Final = Kind("", "v1", "nodes", "Node", namespaced=False)
PRIORITY_CLASS: Final = Kind("scheduling.k8s.io", "v1", "priorityclasses", "PriorityClass", namespaced=False)
RUNTIME_CLASS: Final = Kind("node.k8s.io", "v1", "runtimeclasses", "RuntimeClass", namespaced=False)
DEVICE_CLASS: Final = Kind("resource.k8s.io", "v1", "deviceclasses", "DeviceClass", namespaced=False)
EVENT: Final = Kind("", "v1", "events", "Event")
API_SERVICE: Final = Kind("apiregistration.k8s.io", "v1", "apiservices", "APIService", namespaced=False)
CLUSTER_ROLE: Final = Kind("rbac.authorization.k8s.io", "v1", "clusterroles", "ClusterRole", namespaced=False)
SUBJECT_ACCESS_REVIEW: Final = Kind(
    "authorization.k8s.io", "v1", "subjectaccessreviews", "SubjectAccessReview", namespaced=False
)
LEASE: Final = Kind("coordination.k8s.io", "v1", "leases", "Lease")

CHILDREN: Final = (
    SERVICE_ACCOUNT,
    NETWORK_POLICY,
    POD_DISRUPTION_BUDGET,
    SERVICE,
    CONFIG_MAP,
    RESOURCE_CLAIM_TEMPLATE,
    STATEFUL_SET,
    DEPLOYMENT,
    HORIZONTAL_POD_AUTOSCALER,
    SCALED_OBJECT,
    SERVICE_MONITOR,
    JOB,
)
"""What a service becomes: applied and pruned by the operator, watched by label."""
CHILD_BY_KIND: Final = {kind.kind: kind for kind in CHILDREN}
WATCHED: Final = (INFERENCE_SERVICE, *CHILDREN, PERSISTENT_VOLUME_CLAIM, POD, NODE)
"""What the cache holds. Not ReplicaSets and ControllerRevisions: ten whole pod templates a service, read only when one
is rolled back to."""
OF_A_SERVICE: Final = frozenset({POD, PERSISTENT_VOLUME_CLAIM})
"""Kinds that a service does not own, and that are found by its label."""
OPTIONAL: Final = frozenset({RESOURCE_CLAIM_TEMPLATE, SCALED_OBJECT, SERVICE_MONITOR})
"""Kinds that an API server may not serve (DRA before 1.34, KEDA, the Prometheus operator): looked up at the start."""
UNLABELLED: Final = frozenset({INFERENCE_SERVICE, NODE})
"""Kinds watched whole; of all others only what carries our label."""


def workload_of(service: Service) -> Kind:
    """Return the kind that runs the replicas of a service."""
    return DEPLOYMENT if service.spec.state is None else STATEFUL_SET
