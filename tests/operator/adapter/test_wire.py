import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mooring_operator.adapter import wire
from mooring_operator.adapter.wire import ApiError, Item


def test_values_have_the_form_of_the_api() -> None:
    item = Item({"mooring_service": "demo"}, 1_795_330_800.9, 12.5)
    assert wire.value_list("mooring_load", [item]) == {
        "kind": "ExternalMetricValueList",
        "apiVersion": "external.metrics.k8s.io/v1beta1",
        "metadata": {},
        "items": [
            {
                "metricName": "mooring_load",
                "metricLabels": {"mooring_service": "demo"},
                "timestamp": "2026-11-22T07:00:00Z",
                "value": "12500m",
            }
        ],
    }


def test_discovery_names_the_group_its_version_and_its_metrics() -> None:
    version = {"groupVersion": "external.metrics.k8s.io/v1beta1", "version": "v1beta1"}
    group = wire.api_group()
    assert (group["kind"], group["name"]) == ("APIGroup", "external.metrics.k8s.io")
    assert (group["versions"], group["preferredVersion"]) == ([version], version)
    listed = wire.api_resources(["mooring_load", "mooring_queue_depth"])
    assert (listed["kind"], listed["groupVersion"]) == ("APIResourceList", "external.metrics.k8s.io/v1beta1")
    assert [(each["name"], each["namespaced"], each["verbs"]) for each in listed["resources"]] == [
        ("mooring_load", True, ["get"]),
        ("mooring_queue_depth", True, ["get"]),
    ]


@pytest.mark.parametrize(
    ("code", "reason"),
    [(401, "Unauthorized"), (403, "Forbidden"), (404, "NotFound"), (503, "ServiceUnavailable"), (418, "InternalError")],
)
def test_an_error_is_a_status_with_its_reason(code: int, reason: str) -> None:
    told = wire.status(ApiError(code, "why"))
    assert (told["kind"], told["apiVersion"], told["status"]) == ("Status", "v1", "Failure")
    assert (told["code"], told["reason"], told["message"]) == (code, reason, "why")


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0, "0"), (3.0, "3"), (0.0004, "0"), (0.0006, "1m"), (2.9999, "3"), (12.345, "12345m"), (2.0**52, str(2**52))],
)
def test_quantities(value: float, text: str) -> None:
    assert wire.quantity(value) == text


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, -1.0, 2.0**53, 1e300])
def test_what_is_no_amount_never_leaves(value: float) -> None:
    with pytest.raises(ValueError, match="no amount"):
        wire.quantity(value)


@given(st.floats(0, 2**30))
def test_a_quantity_is_the_number_to_a_thousandth(value: float) -> None:
    text = wire.quantity(value)
    number = float(text.removesuffix("m")) / (1000 if text.endswith("m") else 1)
    assert number == pytest.approx(value, abs=0.00051)


@pytest.mark.parametrize(
    "accept",
    [
        "",
        "*/*",
        "application/json",
        "application/*;q=0.5",
        "application/json;as=Table;v=v1;g=meta.k8s.io, application/json",
        "application/vnd.kubernetes.protobuf,application/JSON; charset=utf-8",
    ],
)
def test_who_takes_json_gets_it(accept: str) -> None:
    wire.check_accept(accept)


@pytest.mark.parametrize(
    "accept",
    ["text/html", "application/vnd.kubernetes.protobuf", "application/json;v=v2;as=APIGroupDiscoveryList", "json"],
)
def test_who_takes_no_json_is_told(accept: str) -> None:
    with pytest.raises(ApiError, match="only application/json") as caught:
        wire.check_accept(accept)
    assert caught.value.code == 406
