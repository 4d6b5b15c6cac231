"""How volumes grow: the claims first, then the claim template; nothing ever shrinks."""

import pytest

from mooring_operator.facts import Manifest, Members, Service
from mooring_operator.plan.growth import Growth, growth
from tests.support.builders import claim, observed, stateful_set
from tests.support.builders import service as any_service


def service(size: str) -> Service:
    return any_service(state={"volume": {"size": size}})


def grown(size: str, template: str, *claims: Manifest, steady: bool = True) -> Growth:
    members = Members(claims=dict(enumerate(claims)))
    return growth(service(size), observed(stateful_set("v1", volume=template), members=members), steady=steady)


@pytest.mark.parametrize("size", ["1Gi", "1024Mi", "1073741824"])
def test_nothing_is_done_where_all_have_the_size(size: str) -> None:
    found = grown(size, "1Gi", claim(0), claim(1))
    assert (found.claims, found.recreate) == ({}, False)


def test_another_spelling_of_the_size_leaves_the_template_as_it_is() -> None:
    assert grown("1024Mi", "1Gi", claim(0)).template_size == "1Gi"


def test_each_claim_that_is_smaller_grows_before_the_template() -> None:
    found = grown("2Gi", "1Gi", claim(0), claim(1, "2Gi"), claim(2, "1500Mi"), claim(3, "3Gi"))
    assert found == Growth({"sessions-sentiment-0": "2Gi", "sessions-sentiment-2": "2Gi"}, False, "1Gi")


def test_a_claim_without_a_volume_waits_for_one() -> None:
    assert grown("2Gi", "2Gi", claim(0, bound=False)) == Growth()


def test_the_statefulset_is_made_anew_when_the_claims_have_grown() -> None:
    assert grown("2Gi", "1Gi", claim(0, "2Gi")) == Growth(recreate=True)


def test_it_is_not_made_anew_in_the_middle_of_a_rollout() -> None:
    assert grown("2Gi", "1Gi", claim(0, "2Gi"), steady=False) == Growth(template_size="1Gi")


def test_a_smaller_size_changes_nothing() -> None:
    assert grown("1Gi", "2Gi", claim(0, "2Gi")) == Growth(template_size="2Gi")


def test_without_a_statefulset_claims_that_were_found_grow() -> None:
    seen = observed(members=Members(claims={0: claim(0)}))
    assert growth(service("2Gi"), seen, steady=False) == Growth({"sessions-sentiment-0": "2Gi"})
