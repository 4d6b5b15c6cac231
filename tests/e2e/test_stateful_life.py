"""The volumes outlive the service, and grow under it."""

import contextlib
import json
from collections.abc import Iterator

import pytest

from tests.cluster.controlplane import STORAGE_CLASS
from tests.cluster.places import ClusterError
from tests.cluster.processes import wait_until
from tests.support.e2e_moves import owner
from tests.support.e2e_site import Site
from tests.support.e2e_stateful import Stateful, made, spec, uids
from tests.support.e2e_watch import Manifest

SIZE = 2
GROWING = "growing"


@pytest.fixture
def only_long(long: bool) -> None:
    """Skips a test in the short form, before it has a service made."""
    if not long:
        pytest.skip("a long one: --long")


@pytest.fixture
def ledger(site: Site) -> Iterator[Stateful]:
    site.cluster.apply({**STORAGE_CLASS, "metadata": {"name": GROWING}, "allowVolumeExpansion": True})
    with made(site, SIZE, state=state("64Mi")) as service:
        yield service


def state(size: str) -> Manifest:
    """On a class whose volumes can grow."""
    return {"volume": {"size": size, "storageClassName": GROWING}}


def test_volumes_outlive_the_service_and_grow(site: Site, ledger: Stateful) -> None:
    claims, epoch = claims_of(ledger), ledger.record()["epoch"]
    with ledger.asked("delete and re-apply, then larger volumes", pulses=8):
        ledger.delete()
        wait_until(lambda: not ledger.pods() and not ledger.pods("router"), 60, "the pods to go")
        ledger.apply(**spec(site, "ledger", replicas=SIZE, state=state("64Mi")))
        ledger.settled(SIZE)
        assert {name: claim["metadata"]["uid"] for name, claim in claims_of(ledger).items()} == {
            name: claim["metadata"]["uid"] for name, claim in claims.items()
        }
        assert ledger.record()["epoch"] >= epoch
        pods, whole = uids(ledger.replicas()), ledger.stateful_set()["metadata"]["uid"]
        ledger.apply(**spec(site, "ledger", replicas=SIZE, state=state("128Mi")))
        wait_until(lambda: set(map(asked_for, claims_of(ledger).values())) == {"128Mi"}, 30, "the claims to grow")
        for name in claims_of(ledger):  # No driver is here that would do it.
            grown = json.dumps({"status": {"capacity": {"storage": "128Mi"}}})
            ledger.kubectl("patch", "pvc", name, "--subresource=status", "--type=merge", "-p", grown)
        wait_until(lambda: stands_anew(ledger, whole), 30, "another StatefulSet")
        ledger.settled(SIZE)
        [template] = ledger.stateful_set()["spec"]["volumeClaimTemplates"]
        assert asked_for(template) == "128Mi"
        assert uids(ledger.replicas()) == pods, "a pod was touched"


@pytest.mark.usefixtures("only_long")
def test_a_lost_volume_is_told_until_a_person_gives_it_up(ledger: Stateful) -> None:
    theirs = next(each for each in map(str, range(1, 100)) if owner(each, SIZE) == 1)
    others = next(each for each in map(str, range(1, 100)) if owner(each, SIZE) == 0)
    assert {ledger.step(each, start=True).outcome for each in (theirs, others)} == {"ok"}
    store = ledger.record()["stores"]["1"]
    ledger.kubectl("delete", "pvc", f"sessions-{ledger.name}-1", "--wait=false")
    ledger.kubectl("delete", "pod", f"{ledger.name}-1", timeout=90)
    wait_until(lambda: ledger.step(theirs).cause == "volume-replaced", 60, "the replica to know its volume")
    assert ledger.step(others).outcome == "ok"
    assert ledger.record()["stores"]["1"] == store, "it was replaced without a word"
    ledger.kubectl("annotate", "infsvc", ledger.name, f"mooring.dev/abandon-store={store}")
    wait_until(lambda: ledger.record()["lost"] == [store], 60, "the store to be given up")
    wait_until(lambda: ledger.step(theirs).cause == "maybe-lost", 30, "the session to count as lost")
    assert ledger.step(theirs, start=True).outcome == "ok", "another session may begin under that id"
    assert ledger.step(others).outcome == "ok"
    ledger.ready()


def claims_of(service: Stateful) -> dict[str, Manifest]:
    found = service.cluster.get("pvc", "--namespace", service.namespace)["items"]
    return {claim["metadata"]["name"]: claim for claim in found}


def asked_for(claim: Manifest) -> str:
    return str(claim["spec"]["resources"]["requests"]["storage"])


def stands_anew(service: Stateful, before: str) -> bool:
    """Tells whether the StatefulSet is another one than before; for a moment there is none."""
    with contextlib.suppress(ClusterError):
        return bool(service.stateful_set()["metadata"]["uid"] != before)
    return False
