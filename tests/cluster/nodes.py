"""The nodes of a cluster: a containerd and a kubelet each, kube-proxy and CoreDNS for all."""

from collections.abc import Sequence
from pathlib import Path


def name(node: int) -> str:
    return f"node{node}"


DNS: list[dict[str, object]] = []


def start(state: Path, nodes: int, server: str, tokens: dict[str, str]) -> None: ...
def load(state: Path, nodes: int, archives: Sequence[Path]) -> None: ...
def contained(state: Path) -> set[int]:
    return set()


def remove_cgroups(state: Path) -> None: ...
