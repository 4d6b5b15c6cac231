"""What the user of a stateful service reads besides: the router, the sessions, and what to do about those at risk."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

from mooring_operator import status
from mooring_operator.api import names
from mooring_operator.api.membership import Record, Report
from mooring_operator.facts import TOKEN_REFUSED, Failure, Manifest, Members, Moves, Observed, Pod, Problem, Step
from mooring_operator.status import Rendered, Verdicts, status_of
from tests.support import builders

HASH = "new000000000"
RENDERED = Rendered(HASH, {"a": "1"}, "http://sentiment.models.svc")
STATE = {"volume": {"size": "1Gi"}}
SETTLED = Record(5, 2, (), {0: "s0", 1: "s1"})


def stateful_set(wanted: int = 2, **counts: Any) -> Manifest:
    made = builders.deployment(HASH, replicas=wanted, marks={names.ANNOTATION_GOOD_TEMPLATE: HASH})
    return {**made, "kind": "StatefulSet", "status": {**made["status"], **counts}}


def router(ready: int = 2) -> Manifest:
    return builders.deployment("router-hash", name=f"{builders.NAME}-router", replicas=2, ready=ready)


def pod(ordinal: int, **seen: Any) -> Pod:
    fields: dict[str, Any] = {"uid": f"u{ordinal}", "ordinal": ordinal, "node": f"node{ordinal}", **seen}
    return builders.pod(HASH, f"{builders.NAME}-{ordinal}", **fields)


def report(ordinal: int, record: Record = SETTLED, **fields: Any) -> Report:
    told: dict[str, Any] = {"store": f"s{ordinal}", "boot": 1, "clean": True, **fields}
    return Report(ordinal=ordinal, record=record, **told)


def members(record: Record = SETTLED, **fields: Any) -> Members:
    told: dict[str, Any] = {"reports": {0: report(0, record, held=3), 1: report(1, record, held=4)}, **fields}
    return Members(record=record, version="7", **told)


def seen(known: Members, *children: Manifest, pods: tuple[Pod, ...] = (pod(0), pod(1))) -> Observed:
    return builders.observed(*(children or (stateful_set(), router())), pods=pods, members=known)


def told(observed: Observed, step: Step | None = None, **state: Any) -> dict[str, Any]:
    service = builders.service(state={**STATE, **state})
    return status_of(service, observed, step or Step(), RENDERED, Verdicts())


def conditions(observed: Observed, **state: Any) -> dict[str, tuple[str, str, str]]:
    return {c["type"]: (c["status"], c["reason"], c["message"]) for c in told(observed, **state)["conditions"]}


def test_all_is_well() -> None:
    found = conditions(seen(members()))
    assert {kind: verdict[0] for kind, verdict in found.items()} == {
        "AtRisk": "False",
        "ModelReady": "True",
        "Ready": "True",
        "Reconciling": "False",
        "RouterReady": "True",
        "SessionsStranded": "False",
        "Stalled": "False",
        "WorkloadReady": "True",
    }
    written = told(seen(members()))
    assert written["sessions"] == {"active": 7, "draining": 0, "atRisk": 0}
    assert written["durable"] is True
    assert (written["replicas"], written["readyReplicas"]) == (2, 2)


def test_a_stateless_service_says_nothing_of_sessions() -> None:
    written = status_of(builders.service(), builders.observed(), Step(), RENDERED, Verdicts())
    assert not {"sessions", "durable"} & written.keys()
    kinds = {condition["type"] for condition in written["conditions"]}
    assert not {"RouterReady", "AtRisk", "SessionsStranded"} & kinds


def test_an_interval_is_not_durable() -> None:
    assert told(seen(members()), durability={"mode": "interval", "interval": "50ms"})["durable"] is False


def test_ready_waits_for_the_router() -> None:
    found = conditions(seen(members(), stateful_set()))
    assert found["RouterReady"][:2] == ("False", "NoRouter")
    assert found["Ready"] == ("False", *found["RouterReady"][1:])
    found = conditions(seen(members(), stateful_set(), router(ready=0)))
    assert found["Ready"] == ("False", "NoRouterAnswers", "0 of 2 pods of the router answer")
    assert conditions(seen(members(), stateful_set(), router(ready=1)))["Ready"][0] == "True"


def test_why_no_router_answers() -> None:
    pull = Failure("ImagePullBackOff", "no such image", "router", permanent=True)
    known = members(router=(Pod("sentiment-router-1", "", False, True, failure=pull),))
    found = conditions(seen(known, stateful_set(), router(ready=0)))["RouterReady"]
    assert found == ("False", "ImagePullBackOff", "pod sentiment-router-1, container router: no such image")
    waiting = Pod("sentiment-router-1", "", False, False, unschedulable="0/1 nodes are available.")
    found = conditions(seen(members(router=(waiting,)), stateful_set(), router(ready=0)))["RouterReady"]
    assert found[1:] == (
        "Unschedulable",
        "no node takes pod sentiment-router-1: 0/1 nodes are available. Add a node or free one",
    )


def test_scaling_never_turns_ready_off() -> None:
    growing = stateful_set(8, replicas=8, updatedReplicas=8, readyReplicas=2, availableReplicas=2, observedGeneration=0)
    assert conditions(seen(members(), growing, router()))["Ready"][0] == "True"
    moving = Record(6, 1, (2,), {0: "s0", 1: "s1"})
    found = conditions(seen(members(moving), stateful_set(), router()))
    assert found["Ready"][0] == "True"


def test_sessions_on_their_way_are_counted() -> None:
    moving = Record(6, 1, (2,), {0: "s0", 1: "s1"})
    leaving = {0: report(0, moving, held=3), 1: report(1, moving, held=4, foreign=4, clean=False)}
    assert told(seen(members(moving, reports=leaving)))["sessions"] == {"active": 7, "draining": 4, "atRisk": 0}


def test_a_lost_node_is_told_with_what_to_do() -> None:
    lost = members(lost_nodes={"node1": "Kubelet stopped posting node status."}, reports={0: report(0, held=3)})
    observed = seen(lost, pods=(pod(0), pod(1, ready=False)))
    status_, reason, message = conditions(observed)["AtRisk"]
    assert (status_, reason) == ("True", "NodeLost")
    for part in ("replica 1", "'node1'", "Kubelet stopped posting", "out-of-service=nodeshutdown:NoExecute", "--force"):
        assert part in message
    # Nobody can know how many sessions are there: no number is better than 0.
    assert told(observed)["sessions"] == {"active": 3, "draining": 0}
    # Later its pod is being deleted, for ever.
    ending = members(lost_nodes={"node1": "gone"}, reports={0: report(0)}, ending=(pod(1, ready=False),))
    assert conditions(seen(ending, pods=(pod(0),)))["AtRisk"][1] == "NodeLost"


def test_a_replaced_volume_is_told_with_what_to_do() -> None:
    other = members(reports={0: report(0), 1: report(1, store="s9", clean=False)})
    _, reason, message = conditions(seen(other))["AtRisk"]
    assert reason == "VolumeReplaced"
    assert "mooring.dev/abandon-store: s1" in message
    assert "store s9" in message


def test_a_volume_that_is_lost_or_is_about_to_be_is_told_with_what_to_do() -> None:
    lost = {**builders.claim(1), "status": {"phase": "Lost"}}
    for known in (members(claims={0: builders.claim(0), 1: lost}), members(going=frozenset({1}))):
        _, reason, message = conditions(seen(known))["AtRisk"]
        assert reason == "VolumeLost"
        assert "claim 'sessions-sentiment-1'" in message
        assert "replica 1" in message
    # What has been given up, or has never had a store, is nobody's loss.
    over = Record(6, 2, (), {0: "s0", 1: "s1"}, ("s1",))
    for known in (members(over, going=frozenset({1})), members(going=frozenset({7}))):
        assert conditions(seen(known))["AtRisk"][0] == "False"


def test_a_token_that_is_refused_is_told_with_what_to_do() -> None:
    # It does not mend, and until then nothing can be moved. A replica that only does not answer is no news.
    refused = f"{TOKEN_REFUSED}: Secret 'sentiment-peer-token' was made with another key"
    known = members(reports={0: report(0)}, silent={1: refused})
    assert conditions(seen(known))["AtRisk"] == ("True", "TokenRefused", f"replica 1: {refused}")
    assert conditions(seen(members(reports={0: report(0)}, silent={1: "no answer"})))["AtRisk"][0] == "False"


def test_an_address_that_went_to_another_pod_tells_nothing_of_the_token() -> None:
    refused = f"{TOKEN_REFUSED}: Secret 'sentiment-peer-token' was made with another key"
    known = members(reports={0: report(0)}, silent={1: refused}, lost_nodes={"node1": "gone"})
    assert "Secret" not in conditions(seen(known, pods=(pod(0), pod(1, ready=False))))["AtRisk"][2]
    ending = members(reports={0: report(0)}, silent={1: refused}, ending=(pod(1),))
    assert conditions(seen(ending, pods=(pod(0),)))["AtRisk"][0] == "False"


def test_sessions_that_were_set_aside_are_told_with_what_to_do() -> None:
    damaged = members(reports={0: report(0, held=3), 1: report(1, held=4, quarantined=2, foreign=2, clean=False)})
    status_, reason, message = conditions(seen(damaged))["AtRisk"]
    assert (status_, reason) == ("True", "SessionsQuarantined")
    for part in ("2 sessions on replica 1", "GET /v2/sessions?state=quarantined", "DELETE /v2/sessions/ID"):
        assert part in message
    assert conditions(seen(damaged))["Ready"][0] == "True"


def test_stranded_sessions_are_named_until_they_are_back() -> None:
    moving = Record(6, 1, (2,), {0: "s0", 1: "s1"})
    known = members(
        moving,
        reports={0: report(0, moving, held=3)},
        resized=builders.NOW - timedelta(hours=1),
        notes={names.ANNOTATION_STRANDED: '{"1": 4}'},
    )
    observed = seen(known, stateful_set(1), router(), pods=(pod(0),))
    status_, reason, message = conditions(observed)["SessionsStranded"]
    assert (status_, reason) == ("True", "DrainTimedOut")
    assert "replica 1 (4 sessions) was removed" in message
    assert "Scale to 2 replicas" in message
    assert "mooring.dev/abandon-store: s1" in message
    assert told(observed)["sessions"] == {"active": 3, "draining": 0, "atRisk": 4}
    assert conditions(observed)["Ready"][0] == "True"


def test_what_a_person_must_hear_becomes_an_event() -> None:
    calm = told(seen(members()))
    lost = told(seen(members(lost_nodes={"node1": "gone"}), pods=(pod(0), pod(1))))
    assert [(each.type, each.reason) for each in status.transitions(calm, lost)] == [("Warning", "NodeLost")]
    assert status.transitions(lost, calm) == []
    away = members(Record(6, 1, (2,), {0: "s0", 1: "s1"}), resized=builders.NOW - timedelta(hours=1))
    gone = told(seen(replace(away, reports={}), stateful_set(1), router(), pods=(pod(0),)))
    assert ("Warning", "DrainTimedOut") in {(each.type, each.reason) for each in status.transitions(calm, gone)}
    # Every healthy start passes through this.
    starting = told(seen(members(), stateful_set()))
    assert "NoRouter" not in {each.reason for each in status.transitions(calm, starting) if each.type == "Warning"}


def test_a_store_that_is_given_up_is_told() -> None:
    after = Record(6, 2, (), {0: "s0", 1: "s9"}, ("s1",))
    assert "store s1 of replica 1 was given up" in status.given_up(members(), Moves(record=after))
    assert status.given_up(members(), Moves()) == ""
    assert status.given_up(members(after), Moves(record=Record(7, 1, (2,), {0: "s0"}, ("s1",)))) == ""


def test_an_unreadable_spec_keeps_what_is_known_of_sessions() -> None:
    before = told(seen(members(lost_nodes={"node1": "gone"})))
    after = status.invalid(before, 2, [Problem("spec.replicas", "write an integer")], builders.NOW)
    kinds = {condition["type"]: condition["status"] for condition in after["conditions"]}
    assert (kinds["AtRisk"], kinds["RouterReady"], kinds["Ready"]) == ("True", "True", "False")
    assert after["sessions"] == before["sessions"]
