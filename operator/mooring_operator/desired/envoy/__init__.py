"""Envoy's files: bootstrap, listener (LDS) and clusters (CDS). Pure, and nothing of Kubernetes.

    client -> listener -> which replica, by the id of the session -> cluster `http` or `grpc` -> replica

The ordinal in an id is only a guess of where the session is: the replica that is reached finds the owner. So any live
replica will do, and a request may be sent to another one as long as no byte of it has left; after that, never.
"""

from .bootstrap import LIVE_PATH, METRICS_PATH, THREADS, arguments, bootstrap
from .clusters import cds
from .drain import DRAIN_SECONDS, drain
from .listener import READY_PATH, lds
from .model import ADMIN, BOOTSTRAP, CDS, LDS, LISTEN, STATUS, Address, Document, Router

__all__ = [
    "ADMIN",
    "BOOTSTRAP",
    "DRAIN_SECONDS",
    "LISTEN",
    "LIVE_PATH",
    "METRICS_PATH",
    "READY_PATH",
    "STATUS",
    "THREADS",
    "Address",
    "Document",
    "Router",
    "arguments",
    "drain",
    "files",
]


def files(router: Router) -> dict[str, Document]:
    """Return Envoy's files by name. The bootstrap is read once; the other two are read again when they change."""
    return {BOOTSTRAP: bootstrap(router), LDS: lds(router), CDS: cds(router)}
