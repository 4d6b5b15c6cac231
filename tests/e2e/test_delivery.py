"""Models from a claim and over https: what serves, and what the user reads when the file cannot be had."""

import base64
import hashlib
import json
import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support import e2e_https, e2e_models, e2e_site
from tests.support.certificates import authority, signed
from tests.support.e2e_service import Served
from tests.support.e2e_site import Site
from tests.support.e2e_watch import Manifest, condition, is_true

Handles = Callable[[str], Served]
MODEL = e2e_models.adder(1)
SHA256 = hashlib.sha256(MODEL).hexdigest()
SMALL = {"resources": {"cpu": "250m", "memory": "256Mi"}}
PORT = 8443
TOKEN = "a-token-of-the-store"
STOPPED = {
    "refused": f"https://{e2e_https.ADDRESS}:9/model.onnx",
    "unknown-authority": "{store}/model.onnx",
    "metadata-service": "https://169.254.169.254/x.onnx",
}
CREDENTIALS = "/var/run/secrets/mooring.dev/credentials"


@dataclass(frozen=True)
class Store:
    """A model store with an authority that nobody knows by itself."""

    url: str
    authority: bytes


@pytest.fixture(scope="module")
def store(site: Site, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    """An https server on a node's own, private, address; it wants a token."""
    files, folder = tmp_path_factory.mktemp("certificates"), tmp_path_factory.mktemp("models")
    known, address = authority(files), e2e_https.ADDRESS
    pair = signed(known, files, "store", address)
    (folder / "model.onnx").write_bytes(MODEL)
    with e2e_https.running(site.cluster, "tests.support.e2e_store", PORT, pair, str(folder), TOKEN):
        yield Store(f"https://{address}:{PORT}", known.certificate.read_bytes())


@pytest.fixture
def claim(site: Site, namespace: str) -> Path:
    """A claim called "models"; returns its folder, as the cluster's nodes see it."""
    spec = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "16Mi"}}}
    site.cluster.apply(
        {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "models"}, "spec": spec},
        namespace=namespace,
    )
    bound = ["wait", "--namespace", namespace, "--for=jsonpath={.status.phase}=Bound", "pvc/models", "--timeout=30s"]
    site.cluster.kubectl(*bound)
    volume = site.cluster.get("pvc", "models", "--namespace", namespace)["spec"]["volumeName"]
    folder = Path(site.cluster.get("pv", volume)["spec"]["hostPath"]["path"])
    site.cluster.run("chmod", "0755", str(folder))
    return folder


@pytest.fixture(scope="module")
def stopped(site: Site, store: Store) -> Iterator[Callable[[str], Served]]:
    """Services whose models cannot be had, by why not; all are asked for by the first test of this page.

    A store that refuses connections is tried for three quarters of a minute, and kubelet waits before it starts a
    container again. So the last tests read what has happened meanwhile.
    """
    namespace = f"test-{secrets.token_hex(4)}"
    e2e_site.make_namespace(site.cluster, namespace)
    for why, uri in STOPPED.items():
        service = Served(site.cluster, namespace, why)
        service.apply(model={"uri": uri.format(store=store.url), "sha256": SHA256}, **SMALL)
    yield lambda why: Served(site.cluster, namespace, why)
    site.cluster.kubectl("delete", "namespace", namespace, "--wait=false")


def put(site: Site, folder: Path, name: str, content: bytes) -> None:
    """Writes a file where the nodes see it."""
    text = base64.b64encode(content).decode()
    site.cluster.run("sh", "-euc", 'mkdir -p "$1"; base64 -d > "$1/$2"', "sh", str(folder), name, stdin=text)


def failed(reason: str) -> Callable[[Manifest], bool]:
    return lambda live: bool(condition(live, "ModelReady")["reason"] == reason)


@pytest.mark.usefixtures("stopped")
def test_a_model_on_a_claim_serves_and_a_wrong_digest_does_not(site: Site, served: Handles, claim: Path) -> None:
    put(site, claim / "adders", "one.onnx", MODEL)
    service = served("alpha")
    model = {"uri": "pvc://models/adders/one.onnx"}
    with service.watch() as watch:
        service.apply(model={**model, "sha256": "0" * 64}, **SMALL)
        live = watch.until(failed("DigestMismatch"), 60, "to find the digest wrong")
        message = condition(live, "ModelReady")["message"]
        assert SHA256 in message
        assert "0" * 64 in message
        assert condition(live, "Ready")["reason"] == "DigestMismatch"
        service.apply(model={**model, "sha256": SHA256}, **SMALL)
        watch.until(is_true("Ready"), 60, "to serve")
    assert service.ask() == 1
    print(f"\n{message}")


def test_a_claim_without_the_file_or_without_the_right_to_read_it_is_told(
    site: Site, served: Handles, claim: Path
) -> None:
    service = served("alpha")
    with service.watch() as watch:
        service.apply(model={"uri": "pvc://models/nothing.onnx"}, **SMALL)
        live = watch.until(failed("ModelNotFound"), 60, "to miss the file")
        assert "/models/nothing.onnx: there is no such file" in condition(live, "ModelReady")["message"]
        put(site, claim, "one.onnx", MODEL)
        site.cluster.run("chmod", "0700", str(claim))
        service.apply(model={"uri": "pvc://models/one.onnx"}, **SMALL)
        live = watch.until(failed("ModelNotFound"), 60, "to be refused the file")
        assert "cannot be read by user 65532: Permission denied" in condition(live, "ModelReady")["message"]


def test_a_model_over_https_with_an_authority_and_a_token_of_ones_own(served: Handles, store: Store) -> None:
    service = served("alpha")
    secret = {"token": TOKEN, "ca.crt": store.authority.decode()}
    manifest = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "store"}, "stringData": secret}
    service.kubectl("apply", "-f", "-", stdin=json.dumps(manifest))
    service.apply(
        model={"uri": f"{store.url}/model.onnx", "sha256": SHA256, "credentials": {"secretName": "store"}},
        runtime={"env": [{"name": "SSL_CERT_FILE", "value": f"{CREDENTIALS}/ca.crt"}]},
        **SMALL,
    )
    service.ready()
    assert service.ask() == 1


@pytest.mark.parametrize(
    ("why", "reason", "says"),
    [
        ("unknown-authority", "DownloadFailed", "is not trusted"),
        ("metadata-service", "AddressRefused", "link-local"),
    ],
)
def test_what_stops_a_download_is_told(stopped: Handles, why: str, reason: str, says: str) -> None:
    with stopped(why).watch() as watch:
        live = watch.until(failed(reason), 60, f"to say {reason}")
        message = condition(live, "ModelReady")["message"]
        assert "container fetch" in message
        assert says in message
        watch.until(is_true("Stalled"), 60, "to give up after the second try")
    print(f"\n{reason}: {message}")


def test_a_store_that_refuses_connections_is_tried_again_and_told(stopped: Handles) -> None:
    with stopped("refused").watch() as watch:
        live = watch.until(failed("DownloadFailed"), 90, "to say that the download failed")
    message = condition(live, "ModelReady")["message"]
    assert "Connection refused (8 attempts in a row without progress)" in message
    assert condition(live, "Stalled")["status"] == "False", "the first failure of a pod is not the end"
    print(f"\n{message}")
