"""An image registry inside a cluster with nodes, for tests that want an image really pulled."""

import json
import tarfile
import urllib.error
import urllib.request

from . import assets, network, processes
from .cluster import Cluster
from .images import Image
from .oci import names

# Inside the cluster's network, which is the nodes' own. containerd speaks plain HTTP to "localhost" only.
_ADDRESS = "localhost:5000"
_MANIFEST = "application/vnd.oci.image.manifest.v1+json"


def push(cluster: Cluster, image: Image, name: str) -> str:
    """Pushes an image (one without nested indexes) and starts the registry when it is not running.

    Returns:
        The reference that pods pull it by: "localhost:5000/NAME@sha256:…".
    """
    start(cluster)
    digest = names(image.archive)[1].rpartition("@")[2]
    with cluster.door_to("registry", "127.0.0.1", 5000) as address, tarfile.open(image.archive) as tar:

        def blob(wanted: str) -> bytes:
            member = tar.extractfile(f"blobs/{wanted.replace(':', '/')}")
            return member.read() if member else b""

        content = blob(digest)
        manifest = json.loads(content)
        repository = f"http://{address}/v2/{name}"
        for part in [manifest["config"], *manifest["layers"]]:
            _upload(repository, part["digest"], blob(part["digest"]))
        _request("PUT", f"{repository}/manifests/{digest}", content, manifest.get("mediaType", _MANIFEST))
    return f"{_ADDRESS}/{name}@{digest}"


def start(cluster: Cluster) -> None:
    """Starts the registry, unless it runs; it keeps its blobs in the cluster's state and takes anyone's images."""
    if any(one.name == "registry" and one.alive() for one in processes.components(cluster.state)):
        return
    config = {
        "version": "0.1",
        "storage": {"filesystem": {"rootdirectory": str(cluster.state / "registry")}},
        "http": {"addr": "127.0.0.1:5000"},
        "log": {"level": "warn"},
    }
    (cluster.state / "registry.yaml").write_text(json.dumps(config))
    serve = [str(assets.folder() / "registry"), "serve", str(cluster.state / "registry.yaml")]
    # Without this it tries for ever to send traces to somewhere.
    env = {"OTEL_TRACES_EXPORTER": "none"}
    processes.start(cluster.state, "registry", [*network.enter(cluster.state, cluster.state), *serve], env)
    with cluster.door_to("registry", "127.0.0.1", 5000) as address:
        processes.wait_until(lambda: _answers(f"http://{address}/v2/"), 20, "the registry to answer")


def _upload(repository: str, digest: str, content: bytes) -> None:
    place = _request("POST", f"{repository}/blobs/uploads/", b"", "application/octet-stream")
    # The registry names itself by the address that it was asked at, or by a path alone.
    target = place if place.startswith("http") else f"{repository.partition('/v2/')[0]}{place}"
    joint = "&" if "?" in target else "?"
    _request("PUT", f"{target}{joint}digest={digest}", content, "application/octet-stream")


def _request(method: str, url: str, content: bytes, kind: str) -> str:
    request = urllib.request.Request(url, data=content, method=method, headers={"Content-Type": kind})
    with urllib.request.urlopen(request, timeout=60) as answer:
        return str(answer.headers.get("Location", ""))


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False
