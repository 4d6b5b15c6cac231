"""A rule of the API, written once for both of its judges.

The API server refuses a bad spec by the CEL expression; the loop and `render` refuse it by the Python predicate
(a cluster may hold objects that an older, looser CRD let in). Both say the same message.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, ClassVar, Final, NamedTuple, Self

from pydantic import BaseModel, ConfigDict, GetCoreSchemaHandler, GetJsonSchemaHandler, model_validator
from pydantic.alias_generators import to_camel
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

VALIDATIONS: Final = "x-kubernetes-validations"
BROKEN: Final = "broken_rules"
"""Type of the pydantic error that broken rules raise; `ctx["broken"]` holds one `Broken` for each."""


class Broken(NamedTuple):
    """A rule that does not hold: the field below the one that carries the rule, and what to do."""

    path: str
    message: str


def always(_: Any) -> bool:
    """Predicate of a transition rule: only the API server sees the old object."""
    return True


@dataclass(frozen=True)
class Rule:
    """One check: `cel` for the API server, `holds` for Python, `message` for the person who wrote the spec.

    `path` is the field below the one that carries the rule (as in CEL's `fieldPath`, `.volume.size`).
    `message_expression` is CEL that makes a message with the value in it; `message` stands in for it in Python.
    """

    cel: str
    message: str
    holds: Callable[[Any], bool] = field(default=always, repr=False)
    path: str = ""
    message_expression: str = ""

    def as_schema(self) -> dict[str, str]:
        """Return the rule as an item of `x-kubernetes-validations`."""
        schema = {"rule": self.cel, "message": self.message}
        if self.message_expression:
            schema["messageExpression"] = self.message_expression
        if self.path:
            schema["fieldPath"] = self.path
        return schema

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        def validate(value: Any) -> Any:
            check((self,), value)
            return value

        return core_schema.no_info_after_validator_function(validate, handler(source))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        json_schema = handler(schema)
        json_schema.setdefault(VALIDATIONS, []).append(self.as_schema())
        return json_schema


def check(rules: tuple[Rule, ...], value: Any) -> None:
    """Raise one `PydanticCustomError` that names each of the rules that does not hold for `value`."""
    found = [Broken(rule.path, rule.message) for rule in rules if not rule.holds(value)]
    if found:
        raise broken(*found)


def broken(*found: Broken) -> PydanticCustomError:
    """Return the error for broken rules; pydantic knows one place for it, `ctx["broken"]` knows each."""
    return PydanticCustomError(BROKEN, "{message}", {"message": found[0].message, "broken": found})


class ApiModel(BaseModel):
    """Base of every noun: camelCase outside, unknown fields refused, immutable, docstrings become descriptions."""

    model_config = ConfigDict(
        alias_generator=to_camel,
        populate_by_name=True,
        extra="forbid",
        frozen=True,
        use_attribute_docstrings=True,
        use_enum_values=True,
    )

    RULES: ClassVar[tuple[Rule, ...]] = ()
    """Rules about several fields of this object."""

    @model_validator(mode="before")
    @classmethod
    def _without_nulls(cls, value: Any) -> Any:
        """Take a field that is null for one that is left out, as the API server does (not so in maps and lists)."""
        if isinstance(value, dict):
            return {key: item for key, item in value.items() if item is not None}
        return value

    @model_validator(mode="after")
    def _rules_hold(self) -> Self:
        check(self.RULES, self)
        return self

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        json_schema = handler(schema)
        if cls.RULES:
            handler.resolve_ref_schema(json_schema)[VALIDATIONS] = [rule.as_schema() for rule in cls.RULES]
        return json_schema
