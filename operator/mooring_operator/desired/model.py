"""Model delivery: from the URI to volumes, mounts and variables.

`oci://` is an image volume, `pvc://` a claim, both mounted read-only; `https://` is fetched by an init container of the
runtime's own image into an emptyDir that the server sees read-only.
"""

from dataclasses import dataclass
from urllib.parse import unquote, urlsplit

from ..api import names
from ..facts import Cluster, Manifest, Service

VOLUME = "model"
CREDENTIALS_VOLUME = "credentials"


@dataclass(frozen=True)
class Delivery:
    """How the model comes into the pod."""

    volume: Manifest
    path: str
    """Where the server finds the model."""
    sha256: str | None = None
    """Digest that the server checks; None where the fetcher has checked it."""
    fetch_env: dict[str, str] | None = None
    """Variables of the init container; None where nothing is fetched."""
    fetch_mounts: tuple[Manifest, ...] = ()
    fetch_volumes: tuple[Manifest, ...] = ()
    """Volumes of the init container only."""

    def mount(self) -> Manifest:
        """Return the server's mount: nothing in the pod that serves can change the model."""
        return {"name": VOLUME, "mountPath": names.MODEL_DIR, "readOnly": True}


def delivery(service: Service, cluster: Cluster) -> Delivery:
    """Return how the service's model is delivered. Raises `ValueError` for a scheme that is not built yet."""
    model = service.spec.model
    scheme, _, rest = model.uri.partition("://")
    if scheme == "oci":
        image = {"reference": rest, "pullPolicy": cluster.images.pull_policy}
        return Delivery({"name": VOLUME, "image": image}, names.MODEL_DIR, model.sha256)
    if scheme == "pvc":
        claim, _, path = rest.partition("/")
        # Read-only as a volume too, not only as a mount: many nodes may then share a ReadOnlyMany claim, and kubelet
        # does not change the owner of every file in it.
        volume = {"name": VOLUME, "persistentVolumeClaim": {"claimName": claim, "readOnly": True}}
        return Delivery(volume, f"{names.MODEL_DIR}/{path}", model.sha256)
    if scheme == "https":
        return _fetched(service)
    raise ValueError(f"spec.model.uri: {scheme}:// is not built yet: use oci://, pvc:// or https://")


def store(uri: str) -> tuple[str, int] | None:
    """Return host and port that the fetcher talks to; None where nothing is fetched by the pod."""
    parts = urlsplit(uri)
    if parts.scheme != "https" or parts.hostname is None:
        return None
    return parts.hostname, parts.port or 443


def _fetched(service: Service) -> Delivery:
    model = service.spec.model
    env = {names.ENV_MODEL_DIR: names.MODEL_DIR, names.ENV_MODEL_URI: model.uri}
    if model.sha256 is not None:
        env[names.ENV_MODEL_SHA256] = model.sha256
    mounts: list[Manifest] = [{"name": VOLUME, "mountPath": names.MODEL_DIR}]
    volumes: list[Manifest] = []
    if model.credentials is not None:
        env[names.ENV_CREDENTIALS_DIR] = names.CREDENTIALS_DIR
        secret = {"secretName": model.credentials.secret_name, "defaultMode": 0o440}
        volumes.append({"name": CREDENTIALS_VOLUME, "secret": secret})
        mounts.append({"name": CREDENTIALS_VOLUME, "mountPath": names.CREDENTIALS_DIR, "readOnly": True})
    # The fetcher keeps the last segment of the path, decoded, as the file's name.
    name = unquote(urlsplit(model.uri).path.rpartition("/")[2])
    return Delivery(
        {"name": VOLUME, "emptyDir": {}},
        f"{names.MODEL_DIR}/{name}",
        fetch_env=env,
        fetch_mounts=tuple(mounts),
        fetch_volumes=tuple(volumes),
    )
