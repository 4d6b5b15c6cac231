"""Pod Security `restricted` (Kubernetes 1.37), as a list of what a pod breaks; the API server has the last word."""

from typing import Any

Pod = dict[str, Any]

_VOLUMES = {
    "configMap",
    "csi",
    "downwardAPI",
    "emptyDir",
    "ephemeral",
    "image",
    "persistentVolumeClaim",
    "projected",
    "secret",
}
_HOST_FIELDS = ("hostNetwork", "hostPID", "hostIPC")


def violations(spec: Pod) -> list[str]:
    """Return what a pod's spec breaks, in words; empty when it passes."""
    pod = spec.get("securityContext", {})
    found = [f"{field} is set" for field in _HOST_FIELDS if spec.get(field)]
    found += [
        f"volume {volume['name']} is of a kind that is not allowed"
        for volume in spec.get("volumes", [])
        if not _VOLUMES & set(volume)
    ]
    for container in (*spec.get("initContainers", []), *spec["containers"]):
        found += [f"{container['name']}: {reason}" for reason in _container(container, pod)]
    return found


def _container(container: dict[str, Any], pod: dict[str, Any]) -> list[str]:
    own = container.get("securityContext", {})
    both = {**pod, **own}
    checks = {
        "may gain privileges": own.get("allowPrivilegeEscalation") is False,
        "is privileged": not own.get("privileged"),
        "keeps capabilities": own.get("capabilities", {}).get("drop") == ["ALL"],
        "adds capabilities": set(own.get("capabilities", {}).get("add", [])) <= {"NET_BIND_SERVICE"},
        "may run as root": both.get("runAsNonRoot") is True,
        "runs as root": both.get("runAsUser") != 0,
        "has no seccomp profile": both.get("seccompProfile", {}).get("type") in {"RuntimeDefault", "Localhost"},
        "uses host ports": not any(port.get("hostPort") for port in container.get("ports", [])),
    }
    return [reason for reason, holds in checks.items() if not holds]
