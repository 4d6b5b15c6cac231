"""Who is let in: the API server's front proxy alone, and in its name those who may read."""

import http.client
import json
import ssl
import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from mooring_operator.api import names
from tests.cluster.cluster import Cluster
from tests.cluster.places import ClusterError
from tests.cluster.processes import wait_until
from tests.support.adapters import API, Adapters, Replica, client, signed
from tests.support.world import World

pytestmark = pytest.mark.timeout(180)

MASTERS = {"X-Remote-User": "system:admin", "X-Remote-Group": "system:masters"}
CONFIG = ("configmap", "extension-apiserver-authentication", "-n", "kube-system")


@pytest.fixture
def adapters(control_plane: Cluster, tmp_path: Path) -> Iterator[Adapters]:
    # Of a certificate with a short life, and of whose front proxy is believed, is looked after more often.
    settings = {"adapter_certificate_seconds": "60"}
    with Adapters(control_plane, tmp_path, "http://127.0.0.1:1", settings) as made:
        yield made


@pytest.fixture
def replica(adapters: Adapters) -> Replica:
    return adapters.start()


@pytest.fixture
def pki(control_plane: Cluster) -> Path:
    return control_plane.state / "pki"


def front_proxy(pki: Path) -> ssl.SSLContext:
    return client(pki / "front-proxy.crt", pki / "front-proxy.key")


def path(namespace: str, metric: str = names.METRIC_LOAD) -> str:
    return f"{API}/namespaces/{namespace}/{metric}?labelSelector={names.METRIC_LABEL_SERVICE}%3Ddemo"


async def test_only_the_front_proxy_is_believed(
    world: World, replica: Replica, pki: Path, namespace: str, tmp_path: Path
) -> None:
    await world.make("demo", scaling={"maxReplicas": 10, "concurrency": {"target": 4}})
    nobody = replica.ask(path(namespace), client(), MASTERS)
    assert (nobody[0], nobody[1]["kind"], nobody[1]["reason"]) == (401, "Status", "Unauthorized")
    token = {"Authorization": f"Bearer {(pki / 'tokens.csv').read_text().split(',')[0]}"}
    assert replica.ask(path(namespace), client(), {**MASTERS, **token})[0] == 401

    # Any user of the cluster has a certificate of this authority, and could call himself whatever he likes.
    user = client(*signed(pki / "ca.crt", tmp_path, "front-proxy"))
    with pytest.raises(OSError):
        replica.ask(path(namespace), user, MASTERS)

    # The right authority, and a name that the API server does not allow.
    other = client(*signed(pki / "front-ca.crt", tmp_path, "somebody"))
    assert replica.ask(path(namespace), other, MASTERS)[0] == 401

    # The front proxy itself, for nobody; and for somebody. There is no Prometheus: he is let in, and told so.
    proxy = front_proxy(pki)
    assert replica.ask(path(namespace), proxy)[0] == 401
    code, answer = replica.ask(path(namespace), proxy, MASTERS)
    assert (code, answer["reason"]) == (503, "ServiceUnavailable")

    def unreachable() -> bool:
        return "PrometheusUnreachable" in replica.ask(path(namespace), proxy, MASTERS)[1]["message"]

    wait_until(unreachable, 30, "the first look at Prometheus to fail")
    assert replica.ask(f"{API}/namespaces/{namespace}/other", proxy, MASTERS)[0] == 404
    assert replica.ask(path(namespace).replace("demo", "other"), proxy, MASTERS)[0] == 404
    assert replica.ask(path(namespace).replace("%3D", "%3E"), proxy, MASTERS)[0] == 400
    assert replica.ask(f"{path(namespace)}&watch=true", proxy, MASTERS)[0] == 405
    assert replica.ask(path(namespace), proxy, MASTERS, method="POST")[0] == 405
    assert replica.ask("/apis", proxy, MASTERS)[0] == 404
    assert replica.ask(API, proxy, {**MASTERS, "Accept": "text/html"})[0] == 406


def test_a_user_reads_what_his_roles_allow(
    control_plane: Cluster, adapters: Adapters, replica: Replica, namespace: str
) -> None:
    adapters.wait_available()
    kubeconfig = control_plane.token_kubeconfig(namespace, "default")
    ask = ["kubectl", f"--kubeconfig={kubeconfig}", "get", "--raw", path(namespace)]
    with pytest.raises(ClusterError, match=f'cannot list resource "mooring_load".*in the namespace "{namespace}"'):
        control_plane.run(*ask)
    allow = {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "Role",
        "metadata": {"name": "reads", "namespace": namespace},
        "rules": [{"apiGroups": [names.EXTERNAL_METRICS_GROUP], "resources": [names.METRIC_LOAD], "verbs": ["list"]}],
    }
    control_plane.apply(allow)
    account = f"--serviceaccount={namespace}:default"
    control_plane.kubectl("create", "rolebinding", "reads", "--role=reads", account, "-n", namespace)

    def let_in() -> bool:
        return "no InferenceService" in control_plane.run(*ask, check=False).stderr

    start = control_plane.audit_size()
    for _ in range(5):
        control_plane.run(*ask, check=False)
    reviews = [
        entry
        for entry in control_plane.audit(start)
        if entry["user"]["username"].endswith(f":{names.ADAPTER}")
        and entry["objectRef"]["resource"] == "subjectaccessreviews"
    ]
    assert len(reviews) <= 1
    # A refusal is kept for ten seconds.
    wait_until(let_in, 30, "the role to be seen")
    with pytest.raises(ClusterError, match="forbidden"):
        control_plane.run(*ask[:-1], path(namespace, names.METRIC_QUEUE_DEPTH))
    assert replica.process.metric("mooring_adapter_requests_total") > 0


def test_another_authority_of_front_proxies_is_taken_up_and_dropped(
    control_plane: Cluster, replica: Replica, namespace: str, tmp_path: Path
) -> None:
    authority = tmp_path / "next-ca.crt"
    _authority(authority)
    proxy = client(*signed(authority, tmp_path, "front-proxy"))
    before = control_plane.get(*CONFIG)["data"]["requestheader-client-ca-file"]

    def code() -> int:
        try:
            return replica.ask(path(namespace), proxy, MASTERS)[0]
        except OSError:
            return 0

    assert code() == 0
    _believe(control_plane, before + authority.read_text())
    wait_until(lambda: code() == 404, 30, "the next authority to be believed")
    with closing(http.client.HTTPSConnection("localhost", replica.port, context=proxy, timeout=10)) as kept:
        kept.request("GET", API, headers=MASTERS)
        assert kept.getresponse().read()
        _believe(control_plane, before)
        wait_until(lambda: code() == 0, 30, "the next authority to be believed no more")
        # A connection that it has let in before is of no use either.
        with pytest.raises((http.client.HTTPException, OSError)):
            kept.request("GET", API, headers=MASTERS)
            kept.getresponse()


def _believe(cluster: Cluster, authorities: str) -> None:
    patch = json.dumps({"data": {"requestheader-client-ca-file": authorities}})
    cluster.kubectl("patch", *CONFIG, "--type=merge", "-p", patch)


def _authority(certificate: Path) -> None:
    key = certificate.with_suffix(".key")
    new = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2", "-subj", "/CN=next"]
    argv = ["openssl", "req", "-x509", *new, "-keyout", str(key), "-out", str(certificate)]
    subprocess.run(argv, check=True, capture_output=True)
