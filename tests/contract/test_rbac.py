"""The operator's rights: each verb that its code uses on each kind, and not one more."""

import re
from pathlib import Path

from mooring_operator.api import names
from mooring_operator.cluster import kinds
from mooring_operator.desired import KEPT_KINDS
from mooring_operator.settings import Settings
from tests.support import chart
from tests.support.chart import Manifest, one, verbs

CODE = Path(__file__).parents[2] / "operator" / "mooring_operator"
CLASSES = (kinds.PRIORITY_CLASS, kinds.RUNTIME_CLASS, kinds.DEVICE_CLASS)

ACCOUNT = "mooring-operator"
Right = tuple[str, str, str]


def rights(kind: kinds.Kind, *allowed: str, subresource: str = "") -> set[Right]:
    resource = f"{kind.plural}/{subresource}" if subresource else kind.plural
    return {(kind.group, resource, verb) for verb in allowed}


def used_everywhere() -> set[Right]:
    """What the table of kinds says that the operator does, over all namespaces."""
    found = rights(kinds.INFERENCE_SERVICE, "get")
    found |= rights(kinds.INFERENCE_SERVICE, "patch", subresource="status")
    # An owner reference that blocks deletion needs it where OwnerReferencesPermissionEnforcement is on.
    found |= rights(kinds.INFERENCE_SERVICE, "update", subresource="finalizers")
    for kind in kinds.WATCHED:
        found |= rights(kind, "list", "watch")
    for kind in kinds.CHILDREN:
        # Server-side apply of what is not there needs create besides patch; get tells whose a taken name is.
        found |= rights(kind, "get", "create", "patch")
        if kind.kind not in KEPT_KINDS:
            found |= rights(kind, "delete")
    # The last good pod template stands there; looked up when it is put back, not watched.
    found |= rights(kinds.REPLICA_SET, "list") | rights(kinds.CONTROLLER_REVISION, "list")
    found |= rights(kinds.PERSISTENT_VOLUME_CLAIM, "patch")
    found |= rights(kinds.SECRET, "create")
    found |= rights(kinds.POD, "create", subresource="eviction")
    found |= rights(kinds.STORAGE_CLASS, "get", "list") | rights(kinds.CSI_DRIVER, "get")
    for kind in (*CLASSES, kinds.API_SERVICE):
        found |= rights(kind, "get")
    return found | rights(kinds.EVENT, "create")


def test_cluster_role_is_exactly_what_is_used(manifests: list[Manifest]) -> None:
    granted = verbs(one(manifests, "ClusterRole"))
    assert granted - used_everywhere() == set()
    assert used_everywhere() - granted == set()


def test_role_is_for_the_one_lease(manifests: list[Manifest]) -> None:
    role = one(manifests, "Role")
    assert role["metadata"]["namespace"] == chart.NAMESPACE
    assert verbs(role) == rights(kinds.LEASE, "get", "create", "update")
    for rule in role["rules"]:
        # A create cannot be bound to a name.
        assert rule.get("resourceNames") == (None if rule["verbs"] == ["create"] else ["mooring-operator"])
    assert Settings.model_fields["lease_name"].default == "mooring-operator"


def test_every_kind_of_the_table_is_granted(helm: Path) -> None:
    roles = [
        manifest
        for manifest in chart.render(helm, "--set", "prometheus.url=http://prometheus:9090")
        if manifest["kind"] in {"ClusterRole", "Role"} and manifest["metadata"]["name"] in {ACCOUNT, names.ADAPTER}
    ]
    granted = {(group, resource) for role in roles for group, resource, _ in verbs(role)}
    table = {(kind.group, kind.plural) for kind in vars(kinds).values() if isinstance(kind, kinds.Kind)}
    assert table <= granted


def test_no_role_holds_a_wildcard_or_reads_secrets(manifests: list[Manifest]) -> None:
    for manifest in manifests:
        if manifest["kind"] not in {"ClusterRole", "Role"}:
            continue
        for rule in manifest["rules"]:
            assert "nonResourceURLs" not in rule
        for group, resource, verb in verbs(manifest):
            assert "*" not in f"{group}{resource}{verb}"
            assert resource != "secrets" or verb == "create"  # a patch would answer with the contents
            assert resource not in {"pods/exec", "pods/attach", "serviceaccounts/token"}
            assert verb not in {"escalate", "bind", "impersonate"}


def test_bindings_lead_to_the_operator_only(manifests: list[Manifest]) -> None:
    account = {"kind": "ServiceAccount", "name": "mooring-operator", "namespace": chart.NAMESPACE}
    for kind in ("ClusterRoleBinding", "RoleBinding"):
        binding = one(manifests, kind)
        assert binding["subjects"] == [account]
        assert binding["roleRef"]["name"] == "mooring-operator"
    assert one(manifests, "Deployment")["spec"]["template"]["spec"]["serviceAccountName"] == account["name"]


def test_users_get_their_part_by_the_clusters_own_roles(manifests: list[Manifest]) -> None:
    edit, view = one(manifests, "ClusterRole", "mooring-edit"), one(manifests, "ClusterRole", "mooring-view")
    assert {verb for *_, verb in verbs(view)} == {"get", "list", "watch"}
    # Who writes a service runs code in its namespace: view must not lead there.
    assert "rbac.authorization.k8s.io/aggregate-to-view" not in edit["metadata"]["labels"]
    assert (names.GROUP, names.PLURAL, "create") in verbs(edit)
    assert not any(resource.endswith("/status") and verb != "get" for _, resource, verb in verbs(edit))


def test_only_the_thin_client_writes() -> None:
    """The table above was read off these calls; a new way to call would escape it."""
    clients = [
        path.relative_to(CODE).as_posix()
        for path in CODE.rglob("*.py")
        if re.search(r"\bCall\(|\.request\(|session\.(get|post|put|patch|delete)\(", path.read_text())
    ]
    # The others speak to replicas and to Prometheus, and never to the API server.
    assert sorted(clients) == ["cluster/kube.py", "cluster/peers.py", "cluster/prometheus_http.py"]
