"""Every public name of Mooring, once: groups, labels, annotations, ports, paths, environment variables.

Whoever renders, watches, selects or documents one of these takes it from here, so that a name can never be
spelled in two ways. `tests/contract/` checks that the runtime really has the ports, paths and variables.
"""

from typing import Final

GROUP: Final = "mooring.dev"
VERSION: Final = "v1alpha1"
API_VERSION: Final = f"{GROUP}/{VERSION}"
KIND: Final = "InferenceService"
PLURAL: Final = "inferenceservices"
SINGULAR: Final = "inferenceservice"
SHORT_NAMES: Final = ("infsvc", "infs")
CATEGORIES: Final = ("mooring",)

FIELD_MANAGER: Final = "mooring"
REPLICAS_FIELD_MANAGER: Final = "mooring-replicas"
"""Holds `spec.replicas` of a Deployment under an autoscaler (KUBERNETES: dropping it would reset it to 1)."""
ROLLOUT_FIELD_MANAGER: Final = "mooring-rollout"
"""Holds the marks of the rollout on the Deployment, so that applying its spec never drops them."""
STATUS_FIELD_MANAGER: Final = "mooring-status"
AUTOSCALER_FIELD_MANAGER: Final = "kube-controller-manager"
"""Of the HorizontalPodAutoscaler, when it writes our /scale."""

# Labels of every child; the selector of pods is the service and the component.
LABEL_NAME: Final = "app.kubernetes.io/name"
LABEL_INSTANCE: Final = "app.kubernetes.io/instance"
LABEL_COMPONENT: Final = "app.kubernetes.io/component"
LABEL_MANAGED_BY: Final = "app.kubernetes.io/managed-by"
LABEL_PART_OF: Final = "app.kubernetes.io/part-of"
LABEL_SERVICE: Final = f"{GROUP}/inferenceservice"
LABEL_ORDINAL: Final = "apps.kubernetes.io/pod-index"
"""Of the pods of a StatefulSet, by its controller: the number of the replica."""
LABEL_SCRAPED: Final = f"{GROUP}/scraped"
"""Of the one Service by whose pods the metrics are found: several Services have the same pods."""
MANAGED_BY: Final = "mooring"
PART_OF: Final = "mooring"
COMPONENT_SERVER: Final = "server"
COMPONENT_CHECK: Final = "check"
"""Component of the Job that tries a model: its pod is the service's, and no traffic may reach it."""
COMPONENT_ROUTER: Final = "router"
"""Component of the Envoy pods in front of a stateful service."""
MANAGED_SELECTOR: Final = f"{LABEL_MANAGED_BY}={MANAGED_BY}"

ANNOTATION_DESIRED_HASH: Final = f"{GROUP}/desired-hash"
"""Digest of the manifest that was applied last; a resync that finds it unchanged writes nothing."""
ANNOTATION_TEMPLATE_HASH: Final = f"{GROUP}/template-hash"
"""Digest of the pod template as the spec asks for it; stands on the Deployment, its pods and the check Job."""
ANNOTATION_GOOD_TEMPLATE: Final = f"{GROUP}/good-template"
"""On the Deployment: the hash of the last pod template that was rolled out whole."""
ANNOTATION_FAILED_TEMPLATE: Final = f"{GROUP}/failed-template"
"""On the Deployment: the template hash that was tried, failed and was rolled back."""
ANNOTATION_FAILED_MESSAGE: Final = f"{GROUP}/failed-message"
"""On the Deployment: why that template failed, in words for the status."""
ANNOTATION_WAITS_SINCE: Final = f"{GROUP}/waits-since"
"""On the StatefulSet: the ordinal whose pod a rollout waits for, and since when. It outlives the operator, so that the
deadline does, too."""
ANNOTATION_ROOM: Final = f"{GROUP}/room"
"""On the StatefulSet of a service whose volumes go with its replicas: how many replicas are wanted. Only those become
members, so that the StatefulSet was written after the wish for more, and an older plan to take some away is refused."""
ANNOTATION_REPLICAS: Final = f"{GROUP}/replicas"
"""On the Deployment of a service that has an autoscaler, or had one: what `spec.replicas` said at that time, and, after
a space, the replicas that the autoscaler left. These stay until `spec.replicas` says something else."""
ROLLOUT_MARKS: Final = (
    ANNOTATION_GOOD_TEMPLATE,
    ANNOTATION_FAILED_TEMPLATE,
    ANNOTATION_FAILED_MESSAGE,
    ANNOTATION_WAITS_SINCE,
    ANNOTATION_ROOM,
    ANNOTATION_REPLICAS,
)
"""Annotations of the Deployment or StatefulSet that only the plan writes: exactly those of `Step.marks`."""
ANNOTATION_ABANDON_STORE: Final = f"{GROUP}/abandon-store"
"""On the service, by a person: the id of the store whose volume is lost for good."""
ANNOTATION_RESIZED: Final = f"{GROUP}/resized"
"""On the membership ConfigMap: when a record last gave another size."""
ANNOTATION_BOOTS: Final = f"{GROUP}/boots"
"""On the membership ConfigMap: how often each store was opened, as JSON. One that was opened less often than it says is
an older copy of its volume."""
ANNOTATION_STRANDED: Final = f"{GROUP}/stranded"
"""On the membership ConfigMap: how many sessions each replica had that was taken away before it had handed them over,
as JSON."""
ANNOTATION_HELD: Final = f"{GROUP}/held"
"""On the membership ConfigMap: how many sessions each replica has, as JSON. Written only where that has doubled or
halved: it is for saying what is at risk when a replica cannot be asked any more."""
ANNOTATION_CONCURRENCY: Final = f"{GROUP}/concurrency-at-target"
"""On the autoscaler: its latency target is held by `mooring_load` for want of a batch curve, and this many requests are
what one replica is taken to hold at the target. Not there while the target is held by the scaling rule."""
MEMBERSHIP_NOTES: Final = (ANNOTATION_BOOTS, ANNOTATION_STRANDED, ANNOTATION_HELD)
"""Annotations of the membership ConfigMap that only the plan writes: exactly those of `Moves.notes`."""

CONTAINER_ROUTER: Final = "router"
CONTAINER_SERVER: Final = "server"
CONTAINER_FETCH: Final = "fetch"

HTTP_PORT: Final = 8000
GRPC_PORT: Final = 8001
"""Of the pod and of the Service alike: gRPC clients write it out."""
METRICS_PORT: Final = 8002
SERVICE_PORT: Final = 80
PORT_NAME_HTTP: Final = "http"
PORT_NAME_GRPC: Final = "grpc"
PORT_NAME_METRICS: Final = "metrics"

PATH_LIVE: Final = "/v2/health/live"
PATH_READY: Final = "/v2/health/ready"
PATH_METRICS: Final = "/metrics"

METRIC_LOAD: Final = "mooring_load"
"""External metric: requests in flight and queued, over all pods of a service."""
METRIC_QUEUE_DEPTH: Final = "mooring_queue_depth"
"""External metric: queued requests, over all pods of a service. The runtime's series of each pod has the same name."""
METRIC_LATENCY_RATIO: Final = "mooring_latency_ratio"
"""External metric: the percentile of the latency target by the target."""
METRIC_DESIRED_REPLICAS: Final = "mooring_desired_replicas"
"""External metric: replicas that meet the latency target under the load that is coming."""
EXTERNAL_METRICS: Final = (METRIC_LOAD, METRIC_QUEUE_DEPTH, METRIC_LATENCY_RATIO, METRIC_DESIRED_REPLICAS)
SERIES: Final = {
    METRIC_LOAD: METRIC_LOAD,
    METRIC_QUEUE_DEPTH: "mooring_service_queue_depth",
    METRIC_LATENCY_RATIO: METRIC_LATENCY_RATIO,
    METRIC_DESIRED_REPLICAS: METRIC_DESIRED_REPLICAS,
}
"""Series of the operator by external metric: the same values, for KEDA and prometheus-adapter. That of the queue has a
name of its own, for the runtime's series of each pod would be taken together with it."""
METRIC_SERVICE_LOAD_SECONDS: Final = "mooring_service_load_seconds"
"""Series of the operator: p90 of the time from a pod's creation until it was ready, by service."""
METRIC_LABEL_SERVICE: Final = "mooring_service"
METRIC_LABEL_NAMESPACE: Final = "mooring_namespace"
"""Labels of every series of the runtime, and of those of the operator that concern one service. `service` and
`namespace` belong to the scraper, which may rename them."""

MODEL_DIR: Final = "/models"
"""Where the model stands in the pod: the image volume, the claim or what the fetcher wrote."""
CREDENTIALS_DIR: Final = "/var/run/secrets/mooring.dev/credentials"
TERMINATION_LOG: Final = "/dev/termination-log"
"""The fetcher and the server write one JSON object `{"reason": ..., "message": ...}` here before they give up."""

ENV_PREFIX: Final = "MOORING_"
ENV_SERVICE: Final = "MOORING_SERVICE"
ENV_NAMESPACE: Final = "MOORING_NAMESPACE"
"""What the server writes into two labels of each metric; `service` and `namespace` belong to the scraper."""
ENV_LATENCY_TARGET: Final = "MOORING_LATENCY_TARGET"
"""As the spec says it: the server bounds its queue by it, and counts its latencies up to it."""
ENV_MODEL_NAME: Final = "MOORING_MODEL_NAME"
ENV_MODEL_PATH: Final = "MOORING_MODEL_PATH"
ENV_MODEL_FORMAT: Final = "MOORING_MODEL_FORMAT"
ENV_MODEL_SHA256: Final = "MOORING_MODEL_SHA256"
ENV_MODEL_URI: Final = "MOORING_MODEL_URI"
ENV_MODEL_DIR: Final = "MOORING_MODEL_DIR"
ENV_CREDENTIALS_DIR: Final = "MOORING_CREDENTIALS_DIR"
ENV_HTTP_PORT: Final = "MOORING_HTTP_PORT"
ENV_GRPC_PORT: Final = "MOORING_GRPC_PORT"
ENV_METRICS_PORT: Final = "MOORING_METRICS_PORT"
ENV_QUEUE: Final = "MOORING_QUEUE"
ENV_WORKERS: Final = "MOORING_WORKERS"
ENV_WARMUP: Final = "MOORING_WARMUP"
ENV_BATCH_MAX_SIZE: Final = "MOORING_BATCH_MAX_SIZE"
ENV_BATCH_MAX_DELAY: Final = "MOORING_BATCH_MAX_DELAY"
ENV_ALLOW_UNSAFE_FORMATS: Final = "MOORING_ALLOW_UNSAFE_FORMATS"
ENV_DRAIN_SECONDS: Final = "MOORING_DRAIN_SECONDS"
"""How long the server, after SIGTERM, is unready and still serves, so that endpoints lose it before it stops."""

PREFIX_KEDA_AUTOSCALER: Final = "keda-hpa-"
"""Of the HorizontalPodAutoscaler that KEDA makes; its own default."""

NAME_MAX_LENGTH: Final = 40
"""Of a service's name: a StatefulSet of 58 characters can no longer make pods, and children add suffixes."""

PEER_PORT: Final = 8003
PORT_NAME_PEERS: Final = "peers"
SUFFIX_PEERS: Final = "-peers"
"""Of the headless Service: replica i is `<service>-<i>.<service>-peers`."""
SUFFIX_READY: Final = "-ready"
"""Of the headless Service that has the addresses of those replicas alone that are ready."""
SUFFIX_ROUTER: Final = "-router"
SUFFIX_MEMBERSHIP: Final = "-membership"
SUFFIX_PEER_TOKEN: Final = "-peer-token"
MEMBERSHIP_KEY: Final = "record.json"
"""Key of the membership ConfigMap."""
PEER_TOKEN_KEY: Final = "token"
PEER_KEY_KEY: Final = "key"
"""Key of the operator's own Secret, which all peer tokens are derived from."""
CLAIM_SESSIONS: Final = "sessions"
"""Claim template of the volume: the claim of replica i is `sessions-<service>-<i>`."""
SESSION_DIR: Final = "/var/lib/mooring"
"""Where the volume is mounted."""
MEMBERSHIP_DIR: Final = "/etc/mooring/membership"
PEER_TOKEN_DIR: Final = "/var/run/secrets/mooring.dev/peers"
PEER_PATH_MEMBERSHIP: Final = "/membership"
"""`PUT` a record to the peer port; the answer is the replica's report."""
HEADER_PEER_TO: Final = "x-mooring-to"
"""On a message to the peer port: the ordinal that is meant. Another one does nothing."""
HEADER_SESSION: Final = "x-mooring-session"
COOKIE_SESSION: Final = "mooring-session"

ENV_ORDINAL: Final = "MOORING_ORDINAL"
ENV_SESSION_PATH: Final = "MOORING_SESSION_PATH"
ENV_SESSION_DURABILITY: Final = "MOORING_SESSION_DURABILITY"
ENV_SESSION_INTERVAL: Final = "MOORING_SESSION_INTERVAL"
ENV_SESSION_TTL: Final = "MOORING_SESSION_TTL"
ENV_STATE_VERSION: Final = "MOORING_STATE_VERSION"
ENV_STATE_CONVERTER: Final = "MOORING_STATE_CONVERTER"
ENV_MAX_SESSION_BYTES: Final = "MOORING_MAX_SESSION_BYTES"
ENV_MAX_SESSIONS: Final = "MOORING_MAX_SESSIONS"
ENV_MEMBERSHIP_FILE: Final = "MOORING_MEMBERSHIP_FILE"
ENV_PEER_ADDRESS: Final = "MOORING_PEER_ADDRESS"
ENV_PEER_PORT: Final = "MOORING_PEER_PORT"
ENV_PEER_TOKEN_FILE: Final = "MOORING_PEER_TOKEN_FILE"

EXTERNAL_METRICS_GROUP: Final = "external.metrics.k8s.io"
EXTERNAL_METRICS_VERSION: Final = "v1beta1"
EXTERNAL_METRICS_API_SERVICE: Final = f"{EXTERNAL_METRICS_VERSION}.{EXTERNAL_METRICS_GROUP}"
"""The one APIService that says who serves external metrics in a cluster."""
ADAPTER: Final = "mooring-adapter"
"""Name of the adapter's Service, to which that APIService leads when the metrics are ours, and of its other parts."""
ADAPTER_FIELD_MANAGER: Final = "mooring-adapter"
