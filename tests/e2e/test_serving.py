"""A model applied is a model served; and what its user reads with kubectl."""

import re
import sys
from collections.abc import Callable
from pathlib import Path

from tests.demo.install import FILE_TYPE
from tests.support.e2e_service import ROOT, Served
from tests.support.e2e_site import Site
from tests.support.e2e_watch import condition, conditions

Handles = Callable[[str], Served]
CLIENT = ROOT / "examples" / "file-type" / "client.py"
# Of many kinds, and none made for the test.
FILES = (
    *("README.md", "LICENSE", "Makefile", "CHANGELOG.md", "pyproject.toml", "requirements/runtime.in", ".ci/run"),
    *("runtime/Dockerfile", "requirements/operator.txt", "crds/inferenceservices.yaml", "charts/mooring/values.yaml"),
    *("charts/mooring/values.schema.json", "examples/argocd/health.lua", "examples/file-type/client.py"),
    *("tests/cluster/go/kubernetes/main.go", "tests/cluster/go/kubernetes/go.sum", "tests/cluster/runc.sh"),
    *("build/images/runtime.tar", "charts/mooring/templates/NOTES.txt", sys.executable),
)


def test_the_example_answers_as_magika_does_about_twenty_real_files(site: Site, namespace: str) -> None:
    cluster, here = site.cluster, f"--namespace={namespace}"
    assert len(set(FILES)) == 20
    cluster.kubectl("apply", here, "-f", str(FILE_TYPE))
    cluster.kubectl("wait", here, "--for=condition=Ready", "inferenceservice/file-type", "--timeout=60s", timeout=90)
    Served(cluster, namespace, "file-type").reach()
    url = cluster.kubectl("get", here, "infsvc/file-type", "-o", "jsonpath={.status.url}")
    # It ends with 1 when one answer is not magika's own.
    answers = cluster.run(sys.executable, str(CLIENT), "--url", url, *FILES, timeout=120).stdout
    print(f"\n{answers}")
    assert [file for file in FILES if Path(file).name not in answers] == []


def test_get_describe_and_events_read_well(site: Site, served: Handles) -> None:
    service = served("alpha")
    service.apply(**site.spec("adder-1"))
    service.ready()
    header, row = service.kubectl("get", "infsvc").splitlines()
    assert re.split(r" {2,}", header.rstrip()) == ["NAME", "READY", "REASON", "REPLICAS", "URL", "AGE"]
    assert re.split(r" {2,}", row)[:4] == ["alpha", "True", "Serving", "1"]
    wide = service.kubectl("get", "infs", "-o", "wide").splitlines()[0]
    assert len(wide.split()) > len(header.split())
    assert service.kubectl("get", "mooring", "-o", "name").split() == ["inferenceservice.mooring.dev/alpha"]
    # Else `kubectl delete all --all` would take services along.
    assert "inferenceservice" not in service.kubectl("get", "all", "-o", "name")
    described = service.kubectl("describe", "infsvc", "alpha")
    for words in ("the model answers at http://alpha.", "1 of 1 replicas answer", "Reason:                Serving"):
        assert words in described
    assert re.search(r"Normal +Serving .* mooring +the model answers at http://alpha\.", described)
    print(f"\n{service.kubectl('get', 'infsvc', '-o', 'wide')}\n{described[described.index('Status:') :]}")


def test_every_field_of_the_spec_is_explained(site: Site) -> None:
    told = site.cluster.kubectl("explain", "infsvc.spec.model")
    assert "GROUP:      mooring.dev" in told
    assert "oci://" in told
    everything = site.cluster.kubectl("explain", "infsvc.spec", "--recursive=false")
    fields = re.findall(r"^  ([a-z]\w*)\t<.*\n((?: {4}\S.*\n)*)", everything, re.MULTILINE)
    assert {"model", "replicas", "accelerator", "scaling", "state", "runtime", "pod"} <= {name for name, _ in fields}
    assert [name for name, text in fields if not text.strip() or "<no description>" in text] == []


def test_scaling_brings_a_second_pod_and_ready_never_flaps(site: Site, served: Handles) -> None:
    service = served("alpha")
    service.apply(**site.spec("adder-1"))
    service.ready()
    with service.watch() as watch:
        watch.until(lambda live: True, 10, "to exist")
        service.kubectl("scale", "infsvc/alpha", "--replicas=2")
        grown = watch.until(
            lambda live: live["status"]["readyReplicas"] == 2 and condition(live, "Ready")["status"] == "True",
            60,
            "to have two pods",
        )
        ready = [one for live in watch.states if live for one in conditions(live) if one["type"] == "Ready"]
    assert {one["status"] for one in ready} == {"True"}
    assert grown["status"]["replicas"] == 2
    assert len({pod["spec"]["nodeName"] for pod in service.pods()}) == 2, "the pods do not spread over the nodes"
