"""The real API server takes the definition, refuses every wrong spec in good words, and takes every right one."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
import yaml

from mooring_operator.api import crd, names
from mooring_operator.api.v1alpha1 import parse
from mooring_operator.cluster.connection import Connection
from mooring_operator.cluster.errors import InvalidError
from mooring_operator.cluster.kinds import INFERENCE_SERVICE, Kind
from mooring_operator.cluster.kube import Call, Kube
from mooring_operator.facts import Manifest
from mooring_operator.validation import parse_service
from tests.cluster.cluster import Cluster
from tests.cluster.processes import wait_until
from tests.support import variations
from tests.support.bad_specs import BAD, BAD_NAMES, CHANGES
from tests.support.good_specs import GOOD_SPECS
from tests.support.specs import GOOD, Bad, BadChange, but

DRY = (("dryRun", "All"), ("fieldValidation", "Strict"))
LOOSE = Kind("loose.example", names.VERSION, "looseservices", "LooseService")
"""The same definition under names that nobody else reads."""


@pytest.fixture(scope="module")
def definition(control_plane: Cluster) -> Iterator[Manifest]:
    """The definition as the API server has it; gone afterwards, unless a release had brought it."""
    name = crd.definition()["metadata"]["name"]
    brought = control_plane.kubectl("get", "crd", name, "--ignore-not-found")
    yield install(control_plane, crd.definition())
    if not brought:
        control_plane.kubectl("delete", "crd", name)


@pytest.fixture
async def kube(control_plane: Cluster, definition: Manifest) -> AsyncIterator[Kube]:
    """A client of the API server that knows the definition."""
    async with Kube(await Connection.load(control_plane.kubeconfig), concurrency=4) as client:
        yield client


def install(cluster: Cluster, definition: Manifest) -> Manifest:
    """Apply a definition; return it as it stands when the API server serves it."""
    cluster.kubectl("apply", "--server-side", "--force-conflicts", "-f", "-", stdin=yaml.safe_dump(definition))
    name = definition["metadata"]["name"]
    cluster.kubectl("wait", "--for=condition=Established", f"crd/{name}")
    wait_until(lambda: cluster.run("kubectl", "get", name, check=False).returncode == 0, 30, f"{name} to be served")
    return cluster.get("crd", name)


def service(spec: Any, name: str = "sentiment", namespace: str = "default", kind: Kind = INFERENCE_SERVICE) -> Manifest:
    metadata = {"name": name, "namespace": namespace}
    return {"apiVersion": kind.api_version, "kind": kind.kind, "metadata": metadata, "spec": spec}


async def create(kube: Kube, manifest: Manifest, kind: Kind = INFERENCE_SERVICE) -> Manifest:
    """Create it for show: the API server checks and defaults it, and stores nothing."""
    path = kind.path(manifest["metadata"]["namespace"])
    return await kube.call(Call("create", "POST", path, DRY, manifest))


async def patch(kube: Kube, kind: Kind, namespace: str, body: Manifest) -> Manifest:
    path = kind.path(namespace, "sentiment")
    return await kube.call(Call("patch", "PATCH", path, (), body, "application/merge-patch+json"))


def test_definition_is_established(definition: Manifest) -> None:
    conditions = {condition["type"]: condition["status"] for condition in definition["status"]["conditions"]}
    assert conditions["Established"] == conditions["NamesAccepted"] == "True"
    assert "NonStructuralSchema" not in conditions


def test_definition_stands_as_it_was_written(definition: Manifest) -> None:
    # What the API server drops without a word would be a check that is not there.
    [stored] = definition["spec"]["versions"]
    assert stored["schema"]["openAPIV3Schema"] == crd.schema()


@pytest.mark.parametrize("case", BAD, ids=lambda case: case.name)
async def test_bad_spec_is_refused(kube: Kube, case: Bad) -> None:
    with pytest.raises(InvalidError) as caught:
        await create(kube, service(case.spec))
    assert case.field in caught.value.message
    assert case.says in caught.value.message


@pytest.mark.parametrize("name", BAD_NAMES.values(), ids=BAD_NAMES)
async def test_bad_name_is_refused(kube: Kube, name: str) -> None:
    with pytest.raises(InvalidError) as caught:
        await create(kube, service(GOOD, name))
    assert "metadata.name: Invalid value: write at most 40 lower-case letters" in caught.value.message


@pytest.mark.parametrize("family", variations.FAMILIES)
async def test_both_judges_agree(kube: Kube, family: str) -> None:
    """RE2, CEL's quantities and durations, and Python's: what one takes the other takes."""
    for spec in variations.of(family, 150):
        manifest = service(spec)
        try:
            await create(kube, manifest)
        except InvalidError as refusal:
            assert isinstance(parse_service(manifest), list), f"only the API server refuses {spec}: {refusal}"
        else:
            assert not isinstance(parse_service(manifest), list), f"only the operator refuses {spec}"


@pytest.mark.parametrize("spec", GOOD_SPECS.values(), ids=GOOD_SPECS)
async def test_good_spec_is_taken_and_reads_back_the_same(kube: Kube, spec: dict[str, Any]) -> None:
    """The server's defaults are the models' own: what was stored means what was written."""
    stored = await create(kube, service(spec))
    assert parse(stored).spec == parse(service(spec)).spec


async def test_defaults_are_written_out(kube: Kube) -> None:
    stored = await create(kube, service(GOOD))
    assert stored["spec"] == {
        "model": GOOD["model"],
        "replicas": 1,
        "resources": {"cpu": "1", "memory": "1Gi"},
        "runtime": {"allowUnsafeFormats": False},
        "rollout": {"progressDeadline": "10m"},
        "suspend": False,
    }


async def test_status_is_not_for_users(kube: Kube) -> None:
    stored = await create(kube, {**service(GOOD), "status": {"replicas": 3}})
    assert "status" not in stored


@pytest.mark.parametrize("case", CHANGES, ids=lambda case: case.name)
async def test_bad_change_is_refused(kube: Kube, namespace: str, case: BadChange) -> None:
    live = await kube.create(INFERENCE_SERVICE, service(case.old, namespace=namespace))
    with pytest.raises(InvalidError) as caught:
        await kube.replace(INFERENCE_SERVICE, {**live, "spec": case.new})
    assert case.field in caught.value.message
    assert case.says in caught.value.message


async def test_volume_may_grow(kube: Kube, namespace: str) -> None:
    spec = but(state={"volume": {"size": "20Gi"}})
    await kube.create(INFERENCE_SERVICE, service(spec, namespace=namespace))
    stored = await patch(kube, INFERENCE_SERVICE, namespace, {"spec": {"state": {"volume": {"size": "21Gi"}}}})
    assert stored["spec"]["state"]["volume"]["size"] == "21Gi"


@pytest.mark.parametrize("replicas", [0, 1001])
async def test_scale_is_bounded(kube: Kube, namespace: str, replicas: int) -> None:
    await kube.create(INFERENCE_SERVICE, service(GOOD, namespace=namespace))
    path = INFERENCE_SERVICE.path(namespace, "sentiment", "scale")
    scale = await kube.read(path)
    assert scale["spec"]["replicas"] == 1
    with pytest.raises(InvalidError, match=r"spec\.replicas"):
        await kube.call(Call("update", "PUT", path, (), {**scale, "spec": {"replicas": replicas}}))


async def test_what_an_older_definition_let_in_can_still_be_changed(
    kube: Kube, control_plane: Cluster, namespace: str
) -> None:
    """Tightening a rule must not freeze the objects that break it: an upgrade of the chart would lock users out."""
    loose, tight = renamed(LOOSE), renamed(LOOSE)
    fields = loose["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]
    del fields["resources"]["properties"]["memory"]["x-kubernetes-validations"]
    install(control_plane, loose)
    try:
        await kube.create(LOOSE, service(but(resources={"memory": "4"}), namespace=namespace, kind=LOOSE))
        install(control_plane, tight)
        await until_refused(kube, service(but(resources={"memory": "4"}), "another", namespace, LOOSE), LOOSE)
        stored = await patch(kube, LOOSE, namespace, {"spec": {"replicas": 3}})
        assert (stored["spec"]["replicas"], stored["spec"]["resources"]["memory"]) == (3, "4")
        with pytest.raises(InvalidError, match="must be at least 1Mi"):
            await patch(kube, LOOSE, namespace, {"spec": {"resources": {"memory": "5"}}})
    finally:
        control_plane.kubectl("delete", "crd", loose["metadata"]["name"], "--wait=false")


def test_every_field_is_explained(control_plane: Cluster, definition: Manifest) -> None:
    group = f"/openapi/v3/apis/{names.API_VERSION}"
    published = yaml.safe_load(control_plane.kubectl("get", "--raw", group))
    root = published["components"]["schemas"]["dev.mooring.v1alpha1.InferenceService"]
    undocumented = [
        path
        for part in ("spec", "status")
        for path, node in fields_below(root["properties"][part], part)
        if len(node.get("description", "")) < 5
    ]
    assert undocumented == []


def test_explain_and_get_read_well(control_plane: Cluster, namespace: str, definition: Manifest) -> None:
    explained = control_plane.kubectl("explain", f"{names.SHORT_NAMES[0]}.spec.model")
    for text in ("uri\t<string> -required-", "Where the model is: `oci://`", "enum: onnx, torchscript"):
        assert text in explained
    control_plane.apply(service(GOOD, namespace=namespace), namespace=namespace)
    table = control_plane.kubectl("get", names.CATEGORIES[0], "--namespace", namespace).splitlines()
    assert table[0].split() == ["NAME", "READY", "REASON", "REPLICAS", "URL", "AGE"]
    wide = control_plane.kubectl("get", names.SHORT_NAMES[1], "--namespace", namespace, "-o", "wide").splitlines()
    assert wide[0].split() == ["NAME", "READY", "REASON", "REPLICAS", "MODEL", "URL", "AGE"]
    assert GOOD["model"]["uri"] in wide[1]


def test_an_unknown_field_is_refused_by_kubectl(control_plane: Cluster, definition: Manifest) -> None:
    wrong = yaml.safe_dump(service(but(replica=2)))
    for argv in (["apply"], ["apply", "--server-side"], ["create"]):
        result = control_plane.run("kubectl", *argv, "--dry-run=server", "-f", "-", stdin=wrong, check=False)
        assert result.returncode != 0
        assert "spec.replica" in result.stderr


def renamed(kind: Kind) -> Manifest:
    """Return the definition under the names of another kind."""
    copied: Manifest = yaml.safe_load(crd.render())
    copied["metadata"]["name"] = f"{kind.plural}.{kind.group}"
    copied["spec"] |= {"group": kind.group, "names": {"kind": kind.kind, "plural": kind.plural}}
    return copied


async def until_refused(kube: Kube, manifest: Manifest, kind: Kind) -> None:
    """Return when the API server judges by the newest definition: it takes it up some moments after it was written."""
    async with asyncio.timeout(30):
        while True:
            try:
                await create(kube, manifest, kind)
            except InvalidError:
                return
            await asyncio.sleep(0.05)


def fields_below(node: Manifest, path: str) -> Iterator[tuple[str, Manifest]]:
    """Yield every field below a schema with its path."""
    for name, item in node.get("items", node).get("properties", {}).items():
        yield f"{path}.{name}", item
        yield from fields_below(item, f"{path}.{name}")
