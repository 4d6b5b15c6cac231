"""Replicas let the operator's pods come to the peer port by the labels that the chart gives them."""

from mooring_operator.desired.policies import OPERATOR_LABELS
from tests.support import chart


def test_the_operators_pods_have_the_labels_that_let_them_in(manifests: list[chart.Manifest]) -> None:
    labels = chart.one(manifests, "Deployment")["spec"]["template"]["metadata"]["labels"]
    assert OPERATOR_LABELS.items() <= labels.items()
