from mooring_operator.adapter.access import KEPT_SECONDS, MOST_KEPT, Decisions, Question, review
from mooring_operator.adapter.identity import Identity

JANE = Identity("jane", ("team",), "u-1", (("scopes", ("a", "b")),))
LOAD = Question(JANE, "team", "mooring_load")


def test_a_question_is_one_for_the_api_server() -> None:
    assert review(LOAD)["spec"] == {
        "user": "jane",
        "uid": "u-1",
        "groups": ["team"],
        "extra": {"scopes": ["a", "b"]},
        "resourceAttributes": {
            "group": "external.metrics.k8s.io",
            "version": "v1beta1",
            "resource": "mooring_load",
            "namespace": "team",
            "verb": "list",
        },
    }
    assert "uid" not in review(Question(Identity("joe"), "team", "mooring_load"))["spec"]


def test_decisions_are_kept_for_a_while_the_refusals_too() -> None:
    now = [0.0]
    decisions = Decisions(lambda: now[0])
    other = LOAD._replace(namespace="other")
    decisions.keep(LOAD, True, "")
    decisions.keep(other, False, "no role")
    now[0] = KEPT_SECONDS - 0.1
    found, refused = decisions.find(LOAD), decisions.find(other)
    assert found is not None
    assert refused is not None
    assert (found.allowed, refused.allowed, refused.reason) == (True, False, "no role")
    # Of whom it is told is a part of the question: nobody gets another one's answer.
    assert decisions.find(LOAD._replace(who=Identity("jane"))) is None
    now[0] = KEPT_SECONDS
    assert decisions.find(LOAD) is None


def test_no_asker_can_fill_the_memory() -> None:
    now = [0.0]
    decisions = Decisions(lambda: now[0])
    for number in range(MOST_KEPT + 10):
        decisions.keep(LOAD._replace(metric=f"made-up-{number}"), False, "")
    assert len(decisions) == MOST_KEPT
    assert decisions.find(LOAD._replace(metric=f"made-up-{MOST_KEPT + 9}")) is not None
    assert decisions.find(LOAD._replace(metric="made-up-9")) is None
    now[0] = KEPT_SECONDS
    decisions.keep(LOAD, True, "")
    assert len(decisions) == 1
