"""Every environment variable that the operator reads; prefix `MOORING_`."""

import os
import socket
from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import AfterValidator, Field
from pydantic_settings import BaseSettings, SettingsConfigDict

LabelName = Annotated[str, Field(pattern="^[a-zA-Z_][a-zA-Z0-9_]*$")]
LabelValue = Annotated[str, Field(min_length=1, max_length=1024)]


def _not_ours(labels: dict[str, str]) -> dict[str, str]:
    """Refuse labels that tell services, pods and buckets apart: each query would find the one that is named at most."""
    found = sorted(labels.keys() & _OURS | {name for name in labels if name.startswith("__")})
    if found:
        raise ValueError(f"found {found[0]!r}: name labels that all series of this cluster have, such as cluster")
    return labels


_OURS: Final = {"mooring_namespace", "mooring_service", "instance", "le", "term", "model", "version", "cause"}


class Settings(BaseSettings):
    """How this installation runs; the chart sets all of it."""

    model_config = SettingsConfigDict(env_prefix="MOORING_", frozen=True, extra="ignore", populate_by_name=True)

    runtime_image: str = "mooring-runtime:onnx"
    """Image of the runtime, variant onnx (CPU)."""
    runtime_image_onnx_gpu: str = ""
    """Image of the variant onnx-gpu; empty: not installed."""
    runtime_image_torch: str = ""
    """Image of the variant torch; empty: not installed."""
    model_pull_policy: Literal["Always", "IfNotPresent", "Never"] = "IfNotPresent"
    """How nodes pull the runtime's images and oci:// models."""
    router_image: str = "envoyproxy/envoy:v1.40.2"
    """Image of Envoy, the router of stateful services; it needs bash, for its end."""
    cluster_domain: str = ""
    """Domain of the cluster's Services, such as cluster.local; empty: the pod's own search domains tell."""
    monitoring_namespace: str = "monitoring"
    """Namespace that may scrape the metrics of models."""

    peer_key_file: Path | None = None
    """File with the key from which the peer tokens of stateful services are derived; left out: they cannot run."""
    peer_key_secret: str = "mooring-operator-peer-key"
    """Secret of the operator's namespace that is mounted as that file; the operator makes it when it is not there."""

    namespace: str = "default"
    """The operator's own namespace; its Lease stands there."""
    pod_name: str = Field(default_factory=lambda: f"{socket.gethostname()}-{os.getpid()}")
    """Who we are in the Lease and in Events: must differ between all processes that run at the same time."""
    lease_name: str = "mooring-operator"
    """Name of the Lease."""
    kubeconfig: Path | None = Field(default=None, validation_alias="KUBECONFIG")
    """Kubeconfig file; left out: the service account of the pod."""

    health_port: int = Field(default=8080, ge=0, le=65535)
    """Port of /healthz and /readyz; 0 takes any."""
    metrics_port: int = Field(default=8081, ge=0, le=65535)
    """Port of /metrics; 0 takes any."""
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    log_format: Literal["json", "text"] = "json"

    concurrency: int = Field(default=16, ge=1, le=256)
    """Requests to the API server in flight at once."""
    workers: int = Field(default=16, ge=1, le=256)
    """Services that are reconciled at once."""
    resync_seconds: float = Field(default=600, gt=0)
    """Each service is looked at again after this time, give or take 20 %."""

    prometheus_url: str = Field(default="", pattern="^(https?://[^/?#]+(/[^?#]*)?)?$")
    """Prometheus that scrapes the models, such as http://prometheus.monitoring:9090; empty: none, and no metric has a
    value."""
    prometheus_token_file: Path | None = None
    """File with a bearer token for it."""
    prometheus_ca_file: Path | None = None
    """Certificates (PEM) of the authority that signed its own; left out: the public ones."""
    keda_authentication: str = Field(default="", pattern="^([a-z0-9]([-.a-z0-9]*[a-z0-9])?)?$", max_length=253)
    """Object of KEDA that holds what KEDA shows to Prometheus; empty: nothing. Only KEDA reads its secrets."""
    keda_authentication_kind: Literal["ClusterTriggerAuthentication", "TriggerAuthentication"] = (
        "ClusterTriggerAuthentication"
    )
    """Of that object. A TriggerAuthentication has to stand in the namespace of each service."""
    keda_auth_modes: str = Field(
        default="bearer", pattern="^((bearer|basic|tls|custom|oauth)(,(bearer|basic|tls|custom|oauth))*)?$"
    )
    """How KEDA uses it, in its own words, such as `tls,basic`; empty for the identity of a pod."""
    prometheus_timeout_seconds: float = Field(default=10, gt=0, le=60)
    """Time for all queries of one look."""
    prometheus_labels: Annotated[dict[LabelName, LabelValue], AfterValidator(_not_ours)] = {}
    """Labels (JSON) that the series of this cluster have, where that Prometheus has those of several clusters."""
    scrape_seconds: float = Field(default=15, ge=1, le=120)
    """Time between two scrapes of a model's pods."""

    scaling_seconds: float = Field(default=15, gt=0, le=60)
    """Time between two looks of the operator at Prometheus, and at who serves external metrics."""
    monitor_labels: dict[str, str] = {}
    """Labels (JSON) of the ServiceMonitors that it makes, by which the cluster's Prometheus chooses its own."""

    adapter_port: int = Field(default=8443, ge=0, le=65535)
    """HTTPS port of the external-metrics API; 0 takes any."""
    adapter_secret: str = "mooring-adapter-serving"
    """Secret of the adapter's namespace in which its replicas share their serving certificate."""
    adapter_certificate_seconds: float = Field(default=90 * 86400, ge=10)
    """Lifetime of a certificate that the adapter makes; it is renewed half-way."""
    adapter_certificate_dir: Path | None = None
    """Folder with tls.crt, tls.key and ca.crt of somebody else, such as cert-manager; then the adapter makes none."""
    adapter_refresh_seconds: float = Field(default=5, gt=0, le=60)
    """Time between two looks at Prometheus."""
    adapter_answer_seconds: float = Field(default=30, gt=0, le=300)
    """How long one look may be answered from while newer ones fail: two rounds of an autoscaler. Longer than a look and
    the time between two, or there is no value in between."""
    adapter_drain_seconds: float = Field(default=5, ge=0, le=60)
    """How long the adapter still answers after SIGTERM, so that the API server hears of it first."""
