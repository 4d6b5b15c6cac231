"""Label selectors in the form of a query, and which labels they select. Pure.

Method: `k8s.io/apimachinery/pkg/labels` `Parse` and `Requirement.Matches`. An autoscaler writes `a=b`, `a in (b,c)`,
`a notin (b,c)`, `a` and `!a`; people write `a==b` and `a!=b` besides. `a>1` and `a<1` are refused by name: no label of
ours is a number, and whoever writes one means something else.
"""

import re
from collections.abc import Mapping
from typing import Literal, NamedTuple

LONGEST = 4096
"""Characters of a selector that are read at all."""

_NAME = r"[A-Za-z0-9](?:[-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?"
_KEY = re.compile(rf"(?:[a-z0-9](?:[-a-z0-9.]{{0,251}}[a-z0-9])?/)?{_NAME}")
_VALUE = re.compile(rf"(?:{_NAME})?")
_TOKEN = re.compile(r"\s*(==|!=|[=!<>,()]|[^\s=!<>,()]+)")


class SelectorError(ValueError):
    """The text is no label selector that can be answered; the message says what was found."""


class Requirement(NamedTuple):
    """What one label must be. `notin` also holds where the label is missing, as everywhere in Kubernetes."""

    key: str
    operator: Literal["in", "notin", "exists", "absent"]
    values: frozenset[str] = frozenset()

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Tell whether these labels meet it."""
        if self.operator == "exists":
            return self.key in labels
        if self.operator == "absent":
            return self.key not in labels
        found = self.key in labels and labels[self.key] in self.values
        return found if self.operator == "in" else not found


def parse(text: str) -> tuple[Requirement, ...]:
    """Return what a selector asks for; nothing for an empty one, which selects everything. Raises `SelectorError`."""
    if len(text) > LONGEST:
        raise SelectorError(f"labelSelector has {len(text)} characters: at most {LONGEST} are read")
    parser = _Parser(text)
    found = []
    while parser.peek():
        found.append(parser.requirement())
        if parser.peek():
            parser.expect(",")
            if not parser.peek():
                raise parser.error("a requirement after the last ','")
    return tuple(found)


class _Parser:
    """The tokens of a selector, taken one after the other."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._tokens = [match[1] for match in _TOKEN.finditer(text)]
        self._next = 0

    def peek(self) -> str:
        """Return the next token; empty at the end."""
        return self._tokens[self._next] if self._next < len(self._tokens) else ""

    def take(self) -> str:
        token = self.peek()
        self._next += 1
        return token

    def expect(self, wanted: str) -> None:
        if self.peek() != wanted:
            raise self.error(repr(wanted))
        self.take()

    def error(self, wanted: str) -> SelectorError:
        found = repr(self.peek()) if self.peek() else "its end"
        return SelectorError(f"labelSelector {self._text!r}: expected {wanted}, found {found}")

    def requirement(self) -> Requirement:
        if self.peek() == "!":
            self.take()
            return Requirement(self._key(), "absent")
        key = self._key()
        operator = self.peek()
        if operator in {"", ","}:
            return Requirement(key, "exists")
        if operator in {"=", "==", "!="}:
            self.take()
            return Requirement(key, "notin" if operator == "!=" else "in", frozenset({self._value()}))
        if operator in {"in", "notin"}:
            self.take()
            return Requirement(key, "in" if operator == "in" else "notin", self._values())
        raise self.error("one of =, ==, !=, in and notin (no label of a metric is a number to compare)")

    def _key(self) -> str:
        if not _KEY.fullmatch(self.peek()):
            raise self.error("the name of a label")
        return self.take()

    def _value(self) -> str:
        if self.peek() in {"", ","}:
            return ""
        if self.peek() == ")" or not _VALUE.fullmatch(self.peek()):
            raise self.error("the value of a label")
        return self.take()

    def _values(self) -> frozenset[str]:
        self.expect("(")
        if self.peek() == ")":
            raise self.error("a value between the brackets")
        found = {self._listed()}
        while self.peek() == ",":
            self.take()
            found.add(self._listed())
        self.expect(")")
        return frozenset(found)

    def _listed(self) -> str:
        return "" if self.peek() == ")" else self._value()
