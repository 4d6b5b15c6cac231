"""How long pods take to start."""

from datetime import UTC, datetime, timedelta

import pytest

from mooring_operator.api import names
from mooring_operator.cluster.starts import KEPT, MOST, Starts
from mooring_operator.facts import Key, Manifest

HERE = Key("models", "sentiment")
THERE = Key("models", "speech")
NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)


def pod(uid: str, took: float | None, component: str = names.COMPONENT_SERVER) -> Manifest:
    """A pod that was ready after so many seconds; None: it is not yet."""

    def stamp(seconds: float) -> str:
        return (NOON + timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%SZ")

    status = "False" if took is None else "True"
    ready = {"type": "Ready", "status": status, "lastTransitionTime": stamp(took or 0.0)}
    labels = {names.LABEL_COMPONENT: component}
    return {
        "metadata": {"uid": uid, "creationTimestamp": stamp(0), "labels": labels},
        "status": {"conditions": [{"type": "PodScheduled", "status": "True"}, ready]},
    }


def test_nine_of_ten_were_as_fast() -> None:
    starts = Starts()
    assert starts.seconds(HERE) is None
    starts.look(HERE, [pod(f"{number}", 10.0 + number) for number in range(20)])
    assert starts.seconds(HERE) == 27.0
    assert starts.seconds(THERE) is None


def test_a_pod_counts_once_and_only_when_it_answers() -> None:
    starts = Starts()
    starts.look(HERE, [pod("a", None)])
    assert starts.seconds(HERE) is None
    starts.look(HERE, [pod("a", 30.0)])
    # It was unready for a while: Kubernetes then says when it became ready last.
    starts.look(HERE, [pod("a", None)])
    starts.look(HERE, [pod("a", 500.0)])
    assert starts.seconds(HERE) == 30.0


def test_one_that_was_watched_counts_as_far_as_the_limit() -> None:
    starts = Starts()
    starts.look(HERE, [pod("a", None)])
    starts.look(HERE, [pod("a", 5 * MOST)])
    assert starts.seconds(HERE) == MOST


def test_one_that_was_ready_before_and_seems_to_have_taken_hours_does_not_count() -> None:
    starts = Starts()
    starts.look(HERE, [pod("a", 5 * MOST), pod("b", 40.0)])
    assert starts.seconds(HERE) == 40.0


def test_the_router_is_no_replica() -> None:
    starts = Starts()
    starts.look(HERE, [pod("a", 1.0, names.COMPONENT_ROUTER)])
    assert starts.seconds(HERE) is None


def test_only_the_last_ones_count() -> None:
    starts = Starts()
    starts.look(HERE, [pod(f"old-{number}", 300.0) for number in range(KEPT)])
    starts.look(HERE, [pod(f"new-{number}", 20.0) for number in range(KEPT)])
    assert starts.seconds(HERE) == 20.0


@pytest.mark.parametrize("keys", [[], [THERE]])
def test_a_service_that_is_gone_is_forgotten(keys: list[Key]) -> None:
    starts = Starts()
    starts.look(HERE, [pod("a", 30.0)])
    starts.keep(keys)
    assert starts.seconds(HERE) is None
    starts.look(HERE, [pod("a", 30.0)])
    assert starts.seconds(HERE) == 30.0
