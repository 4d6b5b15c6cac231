"""What sessions add to the pod of a replica: its volume, its number, and the way to the others."""

from dataclasses import dataclass, field

from ..api import names
from ..api.quantities import quantity
from ..api.v1alpha1 import State
from ..facts import Manifest, Service
from .durations import duration
from .peers import peer_address

MEMBERSHIP_VOLUME = "membership"
TOKEN_VOLUME = "peer-token"
GRACE_SECONDS = 60
"""From SIGTERM until SIGKILL: what is in flight, and the volume closed in order, or its next start takes longer."""
# The volume keeps a pod on its zone, and each move of it costs its clients a pause.
_STAYS = {
    "cluster-autoscaler.kubernetes.io/safe-to-evict": "false",
    "karpenter.sh/do-not-disrupt": "true",
}


@dataclass(frozen=True)
class Sessions:
    """What is added; nothing, where the service keeps no sessions."""

    env: dict[str, str] = field(default_factory=dict)
    downward: dict[str, str] = field(default_factory=dict)
    """Variables that come from a field of the pod."""
    mounts: list[Manifest] = field(default_factory=list)
    volumes: list[Manifest] = field(default_factory=list)
    ports: list[Manifest] = field(default_factory=list)
    annotations: dict[str, str] = field(default_factory=dict)


def sessions(service: Service) -> Sessions:
    """Return what the service's sessions add to its pods."""
    state = service.spec.state
    if state is None:
        return Sessions()
    return Sessions(
        env=_env(service, state),
        downward={names.ENV_ORDINAL: "metadata.labels['apps.kubernetes.io/pod-index']"},
        mounts=[
            {"name": names.CLAIM_SESSIONS, "mountPath": names.SESSION_DIR},
            # As folders, never by subPath: a mounted file would stay as it was when the pod started.
            {"name": MEMBERSHIP_VOLUME, "mountPath": names.MEMBERSHIP_DIR, "readOnly": True},
            {"name": TOKEN_VOLUME, "mountPath": names.PEER_TOKEN_DIR, "readOnly": True},
        ],
        volumes=[
            # The first pods start before there is a record: they wait for it, and it comes by the peer port.
            {
                "name": MEMBERSHIP_VOLUME,
                "configMap": {"name": service.name + names.SUFFIX_MEMBERSHIP, "optional": True, "defaultMode": 0o444},
            },
            {
                "name": TOKEN_VOLUME,
                "secret": {"secretName": service.name + names.SUFFIX_PEER_TOKEN, "defaultMode": 0o440},
            },
        ],
        ports=[{"name": names.PORT_NAME_PEERS, "containerPort": names.PEER_PORT, "protocol": "TCP"}],
        annotations=dict(_STAYS),
    )


def _env(service: Service, state: State) -> dict[str, str]:
    env = {
        names.ENV_SESSION_PATH: names.SESSION_DIR,
        names.ENV_SESSION_DURABILITY: state.durability.mode,
        names.ENV_SESSION_TTL: duration(state.session_ttl),
        names.ENV_MEMBERSHIP_FILE: f"{names.MEMBERSHIP_DIR}/{names.MEMBERSHIP_KEY}",
        names.ENV_PEER_ADDRESS: peer_address(service),
        names.ENV_PEER_PORT: str(names.PEER_PORT),
        names.ENV_PEER_TOKEN_FILE: f"{names.PEER_TOKEN_DIR}/{names.PEER_TOKEN_KEY}",
    }
    interval, largest = state.durability.interval, state.max_session_bytes
    asked = {
        names.ENV_SESSION_INTERVAL: None if interval is None else duration(interval),
        names.ENV_STATE_VERSION: state.state_version,
        names.ENV_STATE_CONVERTER: state.converter,
        names.ENV_MAX_SESSION_BYTES: None if largest is None else int(quantity(largest)),
        names.ENV_MAX_SESSIONS: state.max_sessions,
    }
    return env | {name: str(value) for name, value in asked.items() if value is not None}
