"""What `serve` reads about sessions: each class is a section of `--help`, and its docstring the heading."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from mooring_runtime.settings import kinds
from mooring_runtime.settings.cgroup import memory


@dataclass(frozen=True, kw_only=True)
class SessionSettings:
    """Sessions: the state that models keep between requests"""

    session_path: Annotated[
        Path | None,
        kinds.path(),
        "Directory on a volume where sessions are kept; without it models keep no state, and clients carry it.",
    ] = None
    state_version: Annotated[
        str | None,
        kinds.version(),
        "Version of the state's meaning, in place of what a model's mooring.json says; another one needs a converter.",
    ] = None
    state_converter: Annotated[
        str | None,
        kinds.converter(),
        "File beside a model that converts states of another version, in place of what its mooring.json says.",
    ] = None
    session_durability: Annotated[
        str,
        kinds.choice("step", "interval"),
        "When a step is on disk: before its reply leaves, or at the end of MOORING_SESSION_INTERVAL, so that a crash "
        "may lose the steps of one interval, and their clients are told.",
    ] = "step"
    session_interval: Annotated[float, kinds.duration(), "The longest that a reply goes before its step's commit."] = (
        0.05
    )
    session_ttl: Annotated[float, kinds.duration(), "How long a session may rest before it expires; 0: for ever."] = (
        86400.0
    )
    version_deadline: Annotated[
        float,
        kinds.duration(),
        "How long a version of a model that is to be served no more stays loaded for sessions whose state no other one "
        "knows; after it they are refused until a version that knows it is loaded again. 0: until the last has ended.",
    ] = 86400.0
    max_session_bytes: Annotated[
        int, kinds.size(), "Most bytes of the state of one session; a step that would leave more is refused."
    ] = 64 * 2**20
    max_sessions: Annotated[
        int | None, kinds.whole(1, 100_000_000), "Most sessions of this server; one more is refused, or evicts another."
    ] = None
    max_volume_bytes: Annotated[
        int | None, kinds.size(), "Most bytes that sessions take on the volume; 90 % of it when left out."
    ] = None
    session_eviction: Annotated[
        str,
        kinds.choice("refuse", "idle"),
        "What happens where MOORING_MAX_SESSIONS or the volume's bytes are reached: a new session is refused, or the "
        "one that has rested for longest is evicted, whose client is told.",
    ] = "refuse"
    session_memory: Annotated[
        int,
        kinds.size(),
        "Bytes of states that are kept in memory too; others are read from disk when a step comes. By default a "
        "quarter of the memory that the container may use.",
    ] = field(default_factory=lambda: memory() // 4)
    session_api: Annotated[
        str,
        kinds.choice("off", "read", "full"),
        "Who may use /v2/sessions on the port of HTTP without a token: nobody, whoever only reads, or everybody.",
    ] = "read"
    session_token_file: Annotated[
        Path | None, kinds.path(), "A file with the token (`Authorization: Bearer`) that allows all of /v2/sessions."
    ] = None


@dataclass(frozen=True, kw_only=True)
class MemberSettings:
    """Replicas that share the sessions of a service"""

    stand_alone: Annotated[
        bool, kinds.flag(), "This is the only server of its sessions: there are no peers, and no membership record."
    ] = False
    ordinal: Annotated[
        int | None, kinds.whole(0, 99_999), "The number of this replica, as a StatefulSet's pod has one in its name."
    ] = None
    membership_file: Annotated[
        Path | None,
        kinds.path(),
        "The membership record, mounted from the service's ConfigMap; read anew when it changes.",
    ] = None
    peer_address: Annotated[
        str, kinds.peer_address(), "Where the peer port of a replica is, as in http://demo-{ordinal}.demo-peers:8003."
    ] = ""
    peer_port: Annotated[int, kinds.port(), "Port of the messages between replicas."] = 8003
    peer_token_file: Annotated[
        Path | None, kinds.path(), "A file with the token that every message between replicas must carry."
    ] = None
    peer_ca_file: Annotated[
        Path | None,
        kinds.path(),
        "Authorities (PEM) that have signed the peers' certificates, for https in "
        "MOORING_PEER_ADDRESS; the peer port then shows the certificate of MOORING_TLS_CERT_FILE.",
    ] = None
