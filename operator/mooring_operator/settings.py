"""Every environment variable that the operator reads; prefix `MOORING_`."""

import os
import socket
from pathlib import Path
from typing import Literal

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict


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
