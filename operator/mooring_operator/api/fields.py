"""The field types that the spec is made of: strings with bounds, each with the message that a wrong value gets."""

import re
from typing import Annotated, Any, Final

from pydantic import Field, GetCoreSchemaHandler, GetJsonSchemaHandler, Strict
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, PydanticCustomError, PydanticKnownError, core_schema

from .quantities import DURATION_PATTERN, is_duration, is_quantity, quantity, seconds
from .rules import Broken, Rule, broken

# RFC 1123 and qualified names, as the API server checks them on the objects that we render from these fields.
SUBDOMAIN: Final = "[a-z0-9]([-a-z0-9]*[a-z0-9])?([.][a-z0-9]([-a-z0-9]*[a-z0-9])?)*"
_LABEL_NAME: Final = "[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?"
SUBDOMAIN_PATTERN: Final = f"^{SUBDOMAIN}$"
QUALIFIED_PATTERN: Final = f"^({SUBDOMAIN}/)?{_LABEL_NAME}$"
LABEL_VALUE_PATTERN: Final = f"^({_LABEL_NAME})?$"
QUANTITY_MAX_LENGTH: Final = 32

Int = Annotated[int, Strict()]
Bool = Annotated[bool, Strict()]


def matches(pattern: str, message: str) -> Rule:
    """Return the rule that a string matches `pattern`, anchored (RE2 and Python agree on all that stand here)."""
    compiled = re.compile(pattern)
    # fullmatch: Python's `$` also matches before a last newline, RE2's does not.
    return Rule(f"self.matches('{pattern}')", message, lambda value: compiled.fullmatch(value) is not None)


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


def quantity_between(example: str, at_least: str, at_most: str) -> tuple[Rule, Rule]:
    """Return the rules of a quantity between two bounds, both included."""
    low, high = quantity(at_least), quantity(at_most)
    return (
        Rule(
            "isQuantity(string(self))",
            f"write a quantity such as {example}",
            is_quantity,
        ),
        Rule(
            f"!isQuantity(string(self)) || (quantity(string(self)).compareTo(quantity('{at_least}')) >= 0"
            f" && quantity(string(self)).compareTo(quantity('{at_most}')) <= 0)",
            f"must be at least {at_least} and at most {at_most}",
            lambda value: not is_quantity(value) or low <= quantity(value) <= high,
        ),
    )


def keys(pattern: str, message: str) -> Rule:
    """Return the rule that each key of a map matches `pattern`; a structural schema has no `propertyNames`."""
    compiled = re.compile(pattern)
    return Rule(
        f"self.all(key, key.size() <= 317 && key.matches('{pattern}'))",
        message,
        lambda mapping: all(len(key) <= 317 and compiled.fullmatch(key) is not None for key in mapping),
    )


class IntOrString:
    """Marks a field that takes an integer or a string, which the schema says by an extension of Kubernetes."""

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Return a validator of its own: a union would report one error for each of its members."""

        def validate(value: Any) -> int | str:
            if isinstance(value, bool) or not isinstance(value, (int, str)):
                raise PydanticCustomError("int_or_string", "write an integer or a string")
            if isinstance(value, str) and len(value) > QUANTITY_MAX_LENGTH:
                raise PydanticKnownError("string_too_long", {"max_length": QUANTITY_MAX_LENGTH})
            return value

        return core_schema.no_info_plain_validator_function(validate)

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        """Return the schema without the `anyOf` that a structural schema may not hold."""
        return {"x-kubernetes-int-or-string": True, "maxLength": QUANTITY_MAX_LENGTH}


class ListMap:
    """Marks a list whose items are told apart by some of their fields: server-side apply merges it by them."""

    def __init__(self, *keys: str) -> None:
        self.keys = keys

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Refuse two items with the same key, as the API server does."""

        def validate(items: list[Any]) -> list[Any]:
            seen = set()
            for index, item in enumerate(items):
                values = item.model_dump(by_alias=True)
                key = tuple(values[name] for name in self.keys)
                if key in seen:
                    raise broken(Broken(f"[{index}]", f"another item has the same {' and '.join(self.keys)}: keep one"))
                seen.add(key)
            return items

        return core_schema.no_info_after_validator_function(validate, handler(source))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        """Return the list's schema with its type and keys."""
        return {
            **handler(schema),
            "x-kubernetes-list-type": "map",
            "x-kubernetes-list-map-keys": list(self.keys),
        }


Name = Annotated[
    str,
    Field(min_length=1, max_length=253),
    matches(SUBDOMAIN_PATTERN, "write the name of a Kubernetes object: lower-case letters, digits, '-' and '.'"),
]
QualifiedName = Annotated[
    str,
    Field(min_length=1, max_length=317),
    matches(QUALIFIED_PATTERN, "write a name such as app or example.com/app, at most 63 characters after the '/'"),
]
LabelValue = Annotated[
    str,
    Field(max_length=63),
    matches(
        LABEL_VALUE_PATTERN,
        "write at most 63 letters, digits, '-', '_' and '.', beginning and ending with a letter or digit",
    ),
]
_KEYS = keys(QUALIFIED_PATTERN, "write keys such as app or example.com/app, at most 63 characters after the '/'")
Labels = Annotated[dict[str, LabelValue], Field(max_length=32), _KEYS]
Annotations = Annotated[dict[str, Annotated[str, Field(max_length=4096)]], Field(max_length=32), _KEYS]
ResourceName = Annotated[
    str,
    Field(max_length=253),
    matches(
        f"^[a-z0-9]([-a-z0-9]*[a-z0-9])?([.][a-z0-9]([-a-z0-9]*[a-z0-9])?)+/{_LABEL_NAME}$",
        "write the resource name of a device plugin, such as nvidia.com/gpu, nvidia.com/mig-1g.10gb or amd.com/gpu",
    ),
    Rule(
        "!self.contains('kubernetes.io/')",
        "kubernetes.io names no accelerator: write the resource name of a device plugin, such as nvidia.com/gpu",
        lambda value: "kubernetes.io/" not in value,
    ),
]
# The lower bounds refuse what was meant otherwise: `memory: 4` is four bytes, `memory: 500m` half of one.
_CPU, _MEMORY, _BYTES, _VOLUME = (
    quantity_between("500m or 2", "1m", "1024"),
    quantity_between("4Gi", "1Mi", "24Ti"),
    quantity_between("16Mi", "1", "24Ti"),
    quantity_between("20Gi", "1Mi", "64Ti"),
)
Cpu = Annotated[int | str, IntOrString(), _CPU[0], _CPU[1]]
Memory = Annotated[int | str, IntOrString(), _MEMORY[0], _MEMORY[1]]
Bytes = Annotated[int | str, IntOrString(), _BYTES[0], _BYTES[1]]
VolumeSize = Annotated[
    int | str,
    IntOrString(),
    _VOLUME[0],
    _VOLUME[1],
    Rule(
        "!isQuantity(string(self)) || !isQuantity(string(oldSelf))"
        " || quantity(string(self)).compareTo(quantity(string(oldSelf))) >= 0",
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
