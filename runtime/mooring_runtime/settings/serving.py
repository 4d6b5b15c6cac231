"""What `serve` and `check` read, in sections: each class is one, and its docstring the heading in `--help`.

A new setting is one field in the section that fits it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from mooring_runtime.settings import kinds
from mooring_runtime.settings.cgroup import cpu_count

FORMATS = ("onnx", "torch-export", "torchscript", "python")
"""Model formats that a backend of ours can load."""


@dataclass(frozen=True, kw_only=True)
class ModelSettings:
    """Which models are served: MOORING_MODEL_NAME and MOORING_MODEL_PATH, or MOORING_MODEL_REPOSITORY"""

    model_name: Annotated[
        str, kinds.model_name(), "The name under which the model of MOORING_MODEL_PATH is served; required with it."
    ] = ""
    model_path: Annotated[
        Path | None, kinds.path(), "One model: its file, or a directory that holds model.onnx or a single model file."
    ] = None
    model_format: Annotated[
        str | None, kinds.choice(*FORMATS), "The format of that file; inferred from its name when left out."
    ] = None
    model_sha256: Annotated[str | None, kinds.sha256(), "Digest that that file must have before it is loaded."] = None
    model_repository: Annotated[
        Path | None,
        kinds.path(),
        "Many models, in place of MOORING_MODEL_PATH: a directory with NAME/VERSION/model.onnx or NAME/model.onnx.",
    ] = None
    load_models: Annotated[
        tuple[str, ...] | None, kinds.names(), "Models of the repository to load at the start; all when left out."
    ] = None
    model_control: Annotated[
        str,
        kinds.choice("none", "explicit"),
        "Whether clients may load and unload models through the API: explicit lets them.",
    ] = "none"
    allow_unsafe_formats: Annotated[
        bool, kinds.flag(), "Allow formats whose loading runs code from the file: torch-export, torchscript, python."
    ] = False
    max_loaded_bytes: Annotated[
        int | None,
        kinds.size(),
        "Most bytes of the loaded models of a process; beyond them the one unused for longest is unloaded, and "
        "loaded again when it is asked for.",
    ] = None


@dataclass(frozen=True, kw_only=True)
class RunSettings:
    """How models run"""

    workers: Annotated[
        int,
        kinds.whole(1, 64),
        "Processes that serve behind the same ports, each with the models loaded in memory of its own.",
    ] = 1
    threads: Annotated[
        int, kinds.whole(1, 1024), "Threads of one model run; by default the CPUs that the container may use."
    ] = field(default_factory=cpu_count)
    warmup: Annotated[
        int | None,
        kinds.whole(0, 1000),
        "Runs before a model is ready, on zeros or on the requests that its mooring.json names; 4 when neither says.",
    ] = None
    queue: Annotated[
        int | None,
        kinds.whole(1, 1_000_000),
        "Requests that may wait or run at once in one process; one more is answered 503. When left out 1024, of which "
        "with MOORING_LATENCY_TARGET no more may wait for a model than half the target has time for, and never "
        "fewer than 8.",
    ] = None
    batch_max_size: Annotated[
        int | None,
        kinds.whole(1, 4096),
        "Most samples of one request and of one run, for models that can batch; 1 turns batching off.",
    ] = None
    batch_max_delay: Annotated[
        float | None,
        kinds.duration(),
        "Longest that a request waits for others to share its run; when left out, as long as it pays.",
    ] = None
    batch_preferred: Annotated[
        tuple[int, ...],
        kinds.counts(1, 4096),
        "Sizes that a run should have, so that a GPU sees few shapes; a run is filled up to the next one.",
    ] = ()


@dataclass(frozen=True, kw_only=True)
class DeviceSettings:
    """How models run on a GPU"""

    device_memory: Annotated[
        int | None, kinds.size(), "Most bytes of a GPU's memory for one model; as many as there are when left out."
    ] = None
    device_state: Annotated[
        int,
        kinds.size(none=True),
        "Bytes of a GPU's memory for each model of which sessions keep state, where states stay between steps; at most "
        "a quarter of MOORING_DEVICE_MEMORY, of which they are a part. 0: none do.",
    ] = 256 * 2**20
    cuda_graph: Annotated[
        bool, kinds.flag(), "Record a run once and replay it: quicker, for models whose sizes are all fixed."
    ] = False
    compile: Annotated[
        bool, kinds.flag(), "Translate torch models by torch.compile: a slow start and quicker runs, also on a CPU."
    ] = False


@dataclass(frozen=True, kw_only=True)
class ListenSettings:
    """Addresses and ports"""

    host: Annotated[str, kinds.host(), "The address to listen on, for every port."] = ""
    http_port: Annotated[int, kinds.port(), "Port of HTTP: every protocol and the probes."] = 8000
    grpc_port: Annotated[int, kinds.port(), "Port of V2 over gRPC and of its health checks."] = 8001
    grpc: Annotated[bool, kinds.flag(), "Whether gRPC is served; without it the server is a little smaller."] = True
    metrics_port: Annotated[int, kinds.port(), "Port of /metrics."] = 8002


@dataclass(frozen=True, kw_only=True)
class TlsSettings:
    """TLS of HTTP and gRPC; the metrics stay plain"""

    tls_cert_file: Annotated[
        Path | None, kinds.path(), "The server's certificate and its chain (PEM), read anew when the file changes."
    ] = None
    tls_key_file: Annotated[Path | None, kinds.path(), "The certificate's key (PEM), without a passphrase."] = None
    tls_client_ca_file: Annotated[
        Path | None,
        kinds.path(),
        "Authorities (PEM) of which one must have signed the certificate that a client shows; without it none is asked "
        "for. Probes show none: let them use the port of the metrics.",
    ] = None


@dataclass(frozen=True, kw_only=True)
class ProtocolSettings:
    """What the protocols answer"""

    sagemaker: Annotated[
        bool,
        kinds.flag(),
        "Be a SageMaker container: port 8080 and the model in /opt/ml/model, where nothing else is set; "
        "SAGEMAKER_BIND_TO_PORT says the same, and the port.",
    ] = False
    base_path: Annotated[str, kinds.base_path(), "A prefix that every HTTP path may have, and need not."] = ""
    v1_dialect: Annotated[
        str,
        kinds.choice("both", "kserve", "tfserving"),
        "Who answers on /v1/models where KServe and TF Serving differ; both joins their answers.",
    ] = "both"
    default_model: Annotated[
        str | None,
        kinds.model_name(),
        "The model of calls that name none (SageMaker's invocations); the only one when left out.",
    ] = None
    version_labels: Annotated[
        Mapping[tuple[str, str], str],
        kinds.version_labels(),
        "Names of versions for TF Serving's paths .../labels/LABEL.",
    ] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class ScalingSettings:
    """What autoscaling goes by"""

    service: Annotated[
        str, kinds.object_name(), "Name of the service, for the label mooring_service of each metric; none without it."
    ] = ""
    namespace: Annotated[
        str, kinds.object_name(), "Its namespace, for the label mooring_namespace of each metric; none without it."
    ] = ""
    latency_target: Annotated[
        float | None,
        kinds.target(),
        "The latency that requests should keep to: bounds what may wait, and is a boundary of mooring_request_seconds.",
    ] = None


@dataclass(frozen=True, kw_only=True)
class LimitSettings:
    """Limits of a connection"""

    max_body_bytes: Annotated[int, kinds.size(), "The largest request body, also after decompression."] = 64 * 2**20
    max_header_bytes: Annotated[int, kinds.size(), "The largest request line and headers together."] = 32 * 2**10
    grpc_max_message_bytes: Annotated[
        int,
        kinds.size(),
        "The largest message over gRPC; a compressed one may not unpack to more than MOORING_MAX_BODY_BYTES either. "
        "The protocol's own limit is 2 GiB.",
    ] = 2**31 - 1
    header_timeout: Annotated[
        float, kinds.seconds(0.05, 3600), "Time for a client to send a request's line and headers, from the first byte."
    ] = 10.0
    body_timeout: Annotated[
        float,
        kinds.seconds(0.05, 3600),
        "Time for a client to send a body. Each KiB that arrives adds a second, up to the whole time again: "
        "so long may a body stall, and a long one must go on arriving at 1 KiB a second or faster.",
    ] = 30.0
    idle_timeout: Annotated[
        float,
        kinds.seconds(0.05, 86400),
        "How long a connection may rest, before its first request and between two; more than the 600 s of common load "
        "balancers, so that it is they who close it.",
    ] = 620.0
    connection_max_age: Annotated[
        float,
        kinds.duration(),
        "Age, give or take a tenth, from which a client is asked to connect anew: load balancers spread connections, "
        "not requests, so that a new replica would have nothing to do. 0: never.",
    ] = 300.0
    write_timeout: Annotated[
        float, kinds.seconds(0.05, 3600), "How long a client may take nothing of an answer before it is cut off."
    ] = 60.0


@dataclass(frozen=True, kw_only=True)
class LifeSettings:
    """Ready, and the end of the process"""

    strict_readiness: Annotated[
        bool,
        kinds.flag(),
        "Be ready only when every model that should be loaded is; else as soon as all loads have ended.",
    ] = True
    drain_seconds: Annotated[
        float,
        kinds.seconds(0, 3600),
        "After SIGTERM: how long the server is not ready but still serves, so that load balancers can forget it.",
    ] = 5.0
    run_timeout: Annotated[
        float,
        kinds.seconds(0, 86400),
        "A run of a model that takes longer makes the server not live, so that it is started anew; 0: never.",
    ] = 600.0


@dataclass(frozen=True, kw_only=True)
class TraceSettings:
    """What is told of requests"""

    access_log: Annotated[
        bool, kinds.flag(), "Log a line for each request: who asked for what, the answer's status, bytes and seconds."
    ] = False
    trace_file: Annotated[
        Path | None,
        kinds.path(),
        "Where /v2/trace/setting may have traces written, in Triton's JSON; of several workers each adds its number.",
    ] = None
    tracing: Annotated[
        bool,
        kinds.flag(),
        "Send spans to OpenTelemetry, which reads OTEL_ variables of its own; needs the extra `tracing`.",
    ] = False
