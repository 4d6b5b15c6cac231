"""Reads a settings class from the environment, tells what is wrong with it, and prints it for `--help`.

Plain dataclasses instead of pydantic-settings: on the machine of the design that library costs 0.25 s of the 0.5 s
a server may take to become ready, and 13 of its 80 MiB, for the two dozen variables that stand here.
"""

from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields
from difflib import get_close_matches
from textwrap import wrap
from typing import Any, Protocol, TypeVar, cast, get_type_hints, runtime_checkable

from mooring_runtime.settings.kinds import Kind

PREFIX = "MOORING_"

SettingsType = TypeVar("SettingsType")


class SettingsError(ValueError):
    """One line for each wrong variable: its name, the value found and what is allowed."""


@dataclass(frozen=True, slots=True)
class Setting:
    """One field of a settings class, as its annotation `Annotated[type, kind, "help"]` and its default tell it."""

    field: str
    kind: Kind[Any]
    help: str
    required: bool
    default: Any
    section: str
    """Heading under which `--help` tells it: the first line of the docstring of the class that declares it."""

    @property
    def variable(self) -> str:
        """The environment variable: `http_port` -> `MOORING_HTTP_PORT`."""
        return PREFIX + self.field.upper()


@runtime_checkable
class Checked(Protocol):
    """A settings class with rules between its fields."""

    def faults(self) -> dict[str, str]:
        """A sentence for each field that does not go with the others."""


def settings_of(cls: type[object]) -> list[Setting]:
    """The fields of a settings class in the order in which they stand; defaults that are computed are computed now."""
    hints = get_type_hints(cls, include_extras=True)
    found = []
    for each in fields(cast(Any, cls)):
        kind, text = hints[each.name].__metadata__
        required = each.default is MISSING and each.default_factory is MISSING
        default = each.default if each.default_factory is MISSING else each.default_factory()
        found.append(Setting(each.name, kind, text, required, default, _section(cls, each.name)))
    return found


def _section(cls: type[object], field: str) -> str:
    owner = next(each for each in cls.__mro__ if field in vars(each).get("__annotations__", ()))
    return (owner.__doc__ or "").partition("\n")[0]


def load(cls: type[SettingsType], environment: Mapping[str, str]) -> SettingsType:
    """Settings of one command, read from `environment`; an empty variable counts as not set.

    Raises SettingsError with one line for every wrong or missing variable, not only the first.
    """
    values: dict[str, Any] = {}
    wrong: dict[str, str] = {}
    incomplete = False
    for each in settings_of(cls):
        text = environment.get(each.variable, "").strip()
        if text:
            try:
                values[each.field] = each.kind.parse(text)
            except ValueError:
                wrong[each.field] = f"{each.variable} is {each.kind.show(text)}: it must be {each.kind.allowed}"
        elif each.required:
            wrong[each.field] = f"{each.variable} is not set: it must be {each.kind.allowed}"
        incomplete |= each.required and each.field in wrong
    settings = None if incomplete else cls(**values)
    if isinstance(settings, Checked):
        wrong = {**settings.faults(), **wrong}
    if wrong or settings is None:
        raise SettingsError("\n".join(wrong.values()))
    return settings


def unknown(environment: Mapping[str, str], *classes: type[object]) -> list[str]:
    """A sentence for each `MOORING_` variable that nothing reads but that is one slip away from one that is read.

    Kubernetes adds variables of its own for a Service named `mooring-…`, so what resembles nothing is not spoken of.
    """
    names = {each.variable for cls in classes for each in settings_of(cls)}
    sentences = []
    for name in sorted(environment):
        if name.startswith(PREFIX) and name not in names:
            close = get_close_matches(name, names, n=1, cutoff=0.9)
            sentences += [f"{name} is no setting and was not read; did you mean {close[0]}?"] if close else []
    return sentences


def describe(cls: type[object]) -> str:
    """The table of variables that `--help` prints, by section."""
    lines: list[str] = []
    section = ""
    for each in settings_of(cls):
        if each.section != section:
            section = each.section
            lines += ["", f"{section}:"] if lines else [f"{section}:"]
        default = "required" if each.required else "optional"
        if each.default not in (MISSING, None, "", (), {}):
            value = str(each.default).lower() if isinstance(each.default, bool) else each.default
            default = f"default {value}"
        lines += [f"  {each.variable}  ({default})"]
        lines += wrap(each.help, 110, initial_indent=" " * 6, subsequent_indent=" " * 6)
        lines += wrap(f"Allowed: {each.kind.allowed}.", 110, initial_indent=" " * 6, subsequent_indent=" " * 6)
    return "\n".join(lines)
