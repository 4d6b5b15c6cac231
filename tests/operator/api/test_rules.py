"""A rule holds in both of its judges."""

from typing import Annotated

import pytest
from pydantic import ValidationError

from mooring_operator.api.fields import Int, ListMap, keys, matches
from mooring_operator.api.rules import BROKEN, VALIDATIONS, ApiModel, Broken, Rule


class Item(ApiModel):
    """An item."""

    item_name: str
    """Its name."""


class Both(ApiModel):
    """Two numbers."""

    low: Int = 1
    """The lower."""
    high: Int | None = None
    """The higher."""
    items: Annotated[list[Item], ListMap("itemName")] = []
    """Items."""

    RULES = (
        Rule(
            "!has(self.high) || self.low <= self.high",
            "low must not be above high",
            lambda both: both.high is None or both.low <= both.high,
            ".low",
        ),
        Rule("self.low != 13", "13 is never taken", lambda both: both.low != 13, ".low"),
    )


def broken(**fields: object) -> tuple[Broken, ...]:
    with pytest.raises(ValidationError) as caught:
        Both.model_validate(fields)
    [error] = caught.value.errors()
    assert error["type"] == BROKEN
    found: tuple[Broken, ...] = error["ctx"]["broken"]
    return found


def test_every_broken_rule_is_named_at_once() -> None:
    assert broken(low=13, high=2) == (Broken(".low", "low must not be above high"), Broken(".low", "13 is never taken"))


def test_a_null_is_left_out() -> None:
    assert Both.model_validate({"low": None, "high": None}) == Both()


def test_items_with_one_key_are_refused() -> None:
    message = "another item has the same itemName: keep one"
    assert broken(items=[{"itemName": "a"}, {"itemName": "b"}, {"itemName": "a"}]) == (Broken("[2]", message),)


def test_the_schema_carries_the_rules() -> None:
    schema = Both.model_json_schema()
    assert schema[VALIDATIONS] == [
        {
            "rule": "!has(self.high) || self.low <= self.high",
            "message": "low must not be above high",
            "fieldPath": ".low",
        },
        {"rule": "self.low != 13", "message": "13 is never taken", "fieldPath": ".low"},
    ]
    assert schema["properties"]["items"]["x-kubernetes-list-map-keys"] == ["itemName"]


def test_a_message_may_be_an_expression() -> None:
    rule = Rule("true", "grow only", message_expression="'it is ' + oldSelf", path=".size")
    assert rule.as_schema() == {
        "rule": "true",
        "message": "grow only",
        "messageExpression": "'it is ' + oldSelf",
        "fieldPath": ".size",
    }
    assert rule.holds(object()), "only the API server sees both objects of a transition"


def test_a_pattern_ends_where_the_text_ends() -> None:
    # RE2's `$` does not match before a last newline, Python's does.
    assert matches("^a+$", "").holds("aaa")
    assert not matches("^a+$", "").holds("aaa\n")


def test_keys_of_a_map() -> None:
    rule = keys("^[a-z]*$", "")
    assert rule.holds({"a": "1", "b": "2"})
    assert not rule.holds({"a": "1", "B": "2"})
    assert not rule.holds({"a" * 318: "1"})
