"""The field types that the spec is made of: strings with bounds, each with the message that a wrong value gets."""

import re
from typing import Annotated, Any

from pydantic import Field, GetJsonSchemaHandler
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from .quantities import DURATION_PATTERN, is_duration, is_quantity, quantity, seconds
from .rules import Rule

# RFC 1123 and qualified names, as the API server checks them on the objects that we render from these fields.
LABEL_PATTERN = "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"
SUBDOMAIN_PATTERN = "^[a-z0-9]([-a-z0-9]*[a-z0-9])?([.][a-z0-9]([-a-z0-9]*[a-z0-9])?)*$"
QUALIFIED_PATTERN = (
    "^([a-z0-9]([-a-z0-9]*[a-z0-9])?([.][a-z0-9]([-a-z0-9]*[a-z0-9])?)*/)?[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?$"
)
LABEL_VALUE_PATTERN = "^([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?$"


def matches(pattern: str, message: str) -> Rule:
    """Return the rule that a string matches `pattern` (RE2 and Python agree on all that stand here)."""
    compiled = re.compile(pattern)
    return Rule(f"self.matches('{pattern}')", message, lambda value: compiled.match(value) is not None)


def duration(at_least: str, at_most: str) -> tuple[Rule, Rule]:
    """Return the rules of a duration between two bounds, both included."""
    low, high = seconds(at_least), seconds(at_most)
    # The guard keeps a malformed value from raising a second, raw CEL error beside the message.
    guard = f"!self.matches('{DURATION_PATTERN}')"
    return (
        matches(
            DURATION_PATTERN, f"write a duration such as {at_least} or {at_most}: a number and one of us, ms, s, m, h"
        ),
        Rule(
            f"{guard} || (duration(self) >= duration('{at_least}') && duration(self) <= duration('{at_most}'))",
            f"must be at least {at_least} and at most {at_most}",
            lambda value: not is_duration(value) or low <= seconds(value) <= high,
        ),
    )


class IntOrString:
    """Marks a field that takes an integer or a string, which the schema says by an extension of Kubernetes."""

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        """Return the schema without the `anyOf` that a structural schema may not hold."""
        described = handler(schema)
        kept: dict[str, Any] = {k: v for k, v in described.items() if k not in {"anyOf", "type"}}
        return {"x-kubernetes-int-or-string": True, **kept}


def _quantity_rules(example: str, at_most: str) -> tuple[Rule, Rule]:
    ceiling = quantity(at_most)
    return (
        Rule(
            "isQuantity(string(self)) && quantity(string(self)).isGreaterThan(quantity('0'))",
            f"write a quantity above 0, such as {example}",
            lambda value: is_quantity(value) and quantity(value) > 0,
        ),
        Rule(
            f"!isQuantity(string(self)) || quantity(string(self)).compareTo(quantity('{at_most}')) <= 0",
            f"must be at most {at_most}",
            lambda value: not is_quantity(value) or quantity(value) <= ceiling,
        ),
    )


Name = Annotated[
    str,
    Field(min_length=1, max_length=253),
    matches(SUBDOMAIN_PATTERN, "write the name of a Kubernetes object: lower-case letters, digits, '-' and '.'"),
]
QualifiedName = Annotated[
    str, Field(min_length=1, max_length=317), matches(QUALIFIED_PATTERN, "write a name such as app or example.com/app")
]
LabelValue = Annotated[
    str,
    Field(max_length=63),
    matches(
        LABEL_VALUE_PATTERN,
        "write at most 63 letters, digits, '-', '_' and '.', beginning and ending with a letter or digit",
    ),
]
ResourceName = Annotated[
    str,
    Field(max_length=253),
    matches(
        "^[a-z0-9]([-a-z0-9]*[a-z0-9])?([.][a-z0-9]([-a-z0-9]*[a-z0-9])?)+/[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?$",
        "write the resource name of a device plugin, such as nvidia.com/gpu, nvidia.com/mig-1g.10gb or amd.com/gpu",
    ),
]
_CPU, _MEMORY, _VOLUME = (
    _quantity_rules("500m or 2", "1024"),
    _quantity_rules("4Gi", "24Ti"),
    _quantity_rules("20Gi", "64Ti"),
)
Cpu = Annotated[int | str, IntOrString(), _CPU[0], _CPU[1]]
Memory = Annotated[int | str, IntOrString(), _MEMORY[0], _MEMORY[1]]
VolumeSize = Annotated[
    int | str,
    IntOrString(),
    _VOLUME[0],
    _VOLUME[1],
    Rule(
        "!isQuantity(string(self)) || quantity(string(self)).compareTo(quantity(string(oldSelf))) >= 0",
        "a volume can only grow",
        message_expression="'a volume can only grow: it is ' + string(oldSelf) + ' now'",
    ),
]
_DELAY, _TARGET, _MINUTES, _DAYS = (
    duration("1us", "10s"),
    duration("1ms", "10m"),
    duration("1s", "24h"),
    duration("1s", "8760h"),
)
Delay = Annotated[str, Field(max_length=20), _DELAY[0], _DELAY[1]]
Target = Annotated[str, Field(max_length=20), _TARGET[0], _TARGET[1]]
Minutes = Annotated[str, Field(max_length=20), _MINUTES[0], _MINUTES[1]]
Days = Annotated[str, Field(max_length=20), _DAYS[0], _DAYS[1]]
Percentage = Annotated[str, Field(max_length=5), matches("^[0-9]{1,4}%$", "write a percentage such as 50%")]
