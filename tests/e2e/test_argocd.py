"""Argo CD's health script on services as they really stand."""

from collections.abc import Callable

from tests.support.argocd import health
from tests.support.e2e_service import Served
from tests.support.e2e_site import Site
from tests.support.e2e_watch import is_true

Handles = Callable[[str], Served]


def test_argo_cd_shows_a_service_through_its_life(site: Site, served: Handles) -> None:
    service = served("alpha")
    with service.watch() as watch:
        service.apply(**site.spec("adder-1"))
        first = watch.until(lambda live: True, 10, "to exist")
        assert health(first) == ("Progressing", "Waiting for the operator to report status")
        live = watch.until(is_true("Ready"), 60, "to be ready")
        assert health(live)[0] == "Healthy"
        assert {health(state)[0] for state in watch.states if state} == {"Progressing", "Healthy"}
        service.apply(**site.spec("garbage"))
        live = watch.until(is_true("Stalled"), 60, "to say that the version failed")
        assert health(live)[0] == "Degraded"
        assert "ModelInvalid" in health(live)[1]
        service.apply(**site.spec("adder-1"), suspend=True)
        live = watch.until(is_true("Suspended"), 30, "to be suspended")
        assert health(live)[0] == "Suspended"
