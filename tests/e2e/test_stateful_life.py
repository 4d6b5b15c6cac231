"""The volumes outlive the service, and grow under it."""

import contextlib
import json
from collections.abc import Iterator, Sequence

import pytest

from tests.cluster.controlplane import STORAGE_CLASS
from tests.cluster.places import ClusterError
from tests.cluster.processes import wait_until
from tests.support.e2e_moves import owner
from tests.support.e2e_service import uid_of
from tests.support.e2e_site import Site
from tests.support.e2e_stateful import Stateful, ready, uids
from tests.support.e2e_subjects import Both, made
from tests.support.e2e_watch import Manifest, condition

SIZE = 2
GROWING = "growing"


@pytest.fixture
def only_long(long: bool) -> None:
    """Skips a test in the short form, before it has a service made."""
    if not long:
        pytest.skip("a long one: --long")


@pytest.fixture
def both(site: Site) -> Iterator[Both]:
    site.cluster.apply({**STORAGE_CLASS, "metadata": {"name": GROWING}, "allowVolumeExpansion": True})
    with made(site, SIZE, state=state("64Mi")) as services:
        yield services


def state(size: str) -> Manifest:
    """On a class whose volumes can grow."""
    return {"volume": {"size": size, "storageClassName": GROWING}}


def test_volumes_outlive_the_service_and_grow(site: Site, both: Both) -> None:
    claims, records = both.each(claims_of), both.each(Stateful.record)
    with both.asked("delete and re-apply, then larger volumes", pulses=8):
        both.each(Stateful.delete)
        both.each(gone)
        both.apply(site, replicas=SIZE, state=state("64Mi"))
        both.each(Stateful.settled, SIZE)
        for before, after in zip(claims, both.each(claims_of), strict=True):
            assert {name: uid_of(claim) for name, claim in after.items()} == {
                name: uid_of(claim) for name, claim in before.items()
            }
        for old, new in zip(records, both.each(Stateful.record), strict=True):
            assert new["epoch"] >= old["epoch"]
        pods = both.each(lambda service: uids(service.replicas()))
        sets = [uid_of(each) for each in both.each(Stateful.stateful_set)]
        both.apply(site, replicas=SIZE, state=state("128Mi"))
        both.each(grow)
        wait_until(lambda: all(both.each(stands_anew, sets)), 30, "other StatefulSets")
        both.each(Stateful.settled, SIZE)
        for [template] in both.each(lambda service: service.stateful_set()["spec"]["volumeClaimTemplates"]):
            assert asked_for(template) == "128Mi"
        assert both.each(lambda service: uids(service.replicas())) == pods, "a pod was touched"


@pytest.mark.usefixtures("only_long")
def test_a_lost_volume_is_told_until_a_person_gives_it_up(both: Both) -> None:
    ledger = both.ledger
    theirs = next(each for each in map(str, range(1, 100)) if owner(each, SIZE) == 1)
    others = next(each for each in map(str, range(1, 100)) if owner(each, SIZE) == 0)
    assert {ledger.step(each, start=True).outcome for each in (theirs, others)} == {"ok"}
    store = ledger.record()["stores"]["1"]
    ledger.kubectl("delete", "pvc", f"sessions-{ledger.name}-1", "--wait=false")
    ledger.kubectl("delete", "pod", f"{ledger.name}-1", timeout=90)
    wait_until(lambda: condition(ledger.live(), "AtRisk")["reason"] == "VolumeReplaced", 60, "the status to tell")
    # The replica that should have it says which of the two, where the router still brings it a request.
    assert (answer := ledger.step(theirs)).cause in {"volume-replaced", "owner-down"}, answer
    # It would refuse whatever the router brings it, other replicas' sessions too.
    wait_until(lambda: any(not ready(each) for each in ledger.replicas().values()), 30, "the replica not to be ready")
    wait_until(lambda: {ledger.step(others).outcome for _ in range(8)} == {"ok"}, 30, "the router to leave it out")
    assert ledger.record()["stores"]["1"] == store, "it was replaced without a word"
    ledger.kubectl("annotate", "infsvc", ledger.name, f"mooring.dev/abandon-store={store}")
    wait_until(lambda: ledger.record()["lost"] == [store], 60, "the store to be given up")
    wait_until(lambda: ledger.step(theirs).cause == "maybe-lost", 30, "the session to count as lost")
    assert ledger.step(theirs, start=True).outcome == "ok", "another session may begin under that id"
    assert (answer := ledger.step(others)).outcome == "ok", answer
    ledger.ready()


def gone(service: Stateful) -> None:
    """Waits until none of its pods is there."""
    wait_until(lambda: not service.pods() and not service.pods("router"), 60, f"the pods of {service.name} to go")


def grow(service: Stateful) -> None:
    """What a driver does with larger claims: none is here."""
    wait_until(lambda: set(map(asked_for, claims_of(service).values())) == {"128Mi"}, 30, "the claims to grow")
    for name in claims_of(service):
        grown = json.dumps({"status": {"capacity": {"storage": "128Mi"}}})
        service.kubectl("patch", "pvc", name, "--subresource=status", "--type=merge", "-p", grown)


def claims_of(service: Stateful) -> dict[str, Manifest]:
    labels = f"mooring.dev/inferenceservice={service.name}"
    found = service.cluster.get("pvc", "--namespace", service.namespace, "-l", labels)["items"]
    return {claim["metadata"]["name"]: claim for claim in found}


def asked_for(claim: Manifest) -> str:
    return str(claim["spec"]["resources"]["requests"]["storage"])


def stands_anew(service: Stateful, before: Sequence[str]) -> bool:
    """Tells whether the StatefulSet is none of those before; for a moment there is none."""
    with contextlib.suppress(ClusterError):
        return uid_of(service.stateful_set()) not in before
    return False
