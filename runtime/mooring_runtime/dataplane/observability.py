"""What V2's logging and trace extensions read and change: the process's log lines, and which requests are traced.

Front ends know `LogSettings` and `TraceSettings`: `get` gives what the extension shows, `update` acts on what a client
asks. What cannot be acted on is refused by name; an update with anything refused changes nothing.
"""

from collections.abc import Callable, Collection, Mapping
from typing import Any

from mooring_runtime.dataplane.trace_file import TraceFile
from mooring_runtime.errors import InvalidRequest, UnknownModel
from mooring_runtime.settings import logs

Changed = Callable[[Mapping[str, Any]], None]
"""Told of each update that was made; with several workers it reaches the others by this."""

_LOG_FLAGS = {"log_info": "info", "log_warning": "warning", "log_error": "error"}
"""Triton's name and ours."""


class LogSettings:
    """`/v2/logging`: which levels are written, and how a line looks."""

    def __init__(self, switches: logs.Switches = logs.switches) -> None:
        self._switches = switches
        self._first_layout = switches.layout
        self.changed: Changed | None = None

    def get(self) -> dict[str, Any]:
        """The settings by Triton's names."""
        on = self._switches
        return {
            "log_file": "",
            "log_info": on.info,
            "log_warning": on.warning,
            "log_error": on.error,
            "log_verbose_level": int(on.debug),
            "log_format": on.layout,
        }

    def update(self, wanted: Mapping[str, Any]) -> None:
        """Change what `wanted` names. Raises InvalidRequest with the setting, what was found and what is allowed."""
        values = {name: self._value(name, value) for name, value in wanted.items()}
        for name, value in values.items():
            if name == "log_verbose_level":
                self._switches.debug = value
            elif name == "log_format":
                self._switches.layout = value
            elif name in _LOG_FLAGS:
                setattr(self._switches, _LOG_FLAGS[name], value)
        self._switches.apply()
        if self.changed is not None and values:
            self.changed(dict(wanted))

    def _value(self, name: str, value: Any) -> Any:
        if name in _LOG_FLAGS:
            if type(value) is not bool:
                raise InvalidRequest(f"{name} is {value!r}, it must be true or false")
            return value
        if name == "log_verbose_level":
            if type(value) is not int or value < 0:
                raise InvalidRequest(f"{name} is {value!r}, it must be a whole number from 0; above 0 is debugging")
            return value > 0
        if name == "log_format":
            if value == "default":
                return self._first_layout
            if value not in logs.LAYOUTS:
                raise InvalidRequest(f"{name} is {value!r}, it must be default, {' or '.join(logs.LAYOUTS)}")
            return value
        if name == "log_file":
            if value:
                raise InvalidRequest(f"log_file is {value!r}: this server logs to standard error only; leave it empty")
            return value
        raise InvalidRequest(f"there is no log setting {name}; there are {', '.join(self.get())}")


class TraceRules:
    """Which requests of one model are traced: every `rate`-th, until `left` is used up (-1: without end)."""

    __slots__ = ("frequency", "left", "on", "rate", "seen")

    def __init__(self) -> None:
        self.on = False
        self.rate = 1000
        self.left = -1
        self.frequency = 0
        """Traces of one file; 0: all in one."""
        self.seen = 0

    def chosen(self) -> bool:
        """Whether the request that comes now is traced; counts it."""
        if not self.on or not self.left:
            return False
        self.seen += 1
        if self.seen % self.rate:
            return False
        self.left -= self.left > 0
        return True

    def copy(self) -> "TraceRules":
        """Rules of the same kind that count for themselves."""
        made = TraceRules()
        made.on, made.rate, made.left, made.frequency = self.on, self.rate, self.left, self.frequency
        return made


_NUMBERS = {"trace_rate": ("rate", 1), "trace_count": ("left", -1), "log_frequency": ("frequency", 0)}
"""Triton's name: ours, and the least value."""
_FIXED = ("trace_file", "trace_mode")
_LEVELS = ("OFF", "TIMESTAMPS")


class TraceSettings:
    """`/v2/trace/setting`: the rules of every model, and those of single models that differ.

    Without a `file`, the setting MOORING_TRACE_FILE, there is no tracing to switch on. `models` gives the names that
    exist.
    """

    def __init__(self, file: TraceFile | None, models: Callable[[], Collection[str]]) -> None:
        self.file = file
        self._models = models
        self._all = TraceRules()
        self._own: dict[str, TraceRules] = {}
        self.changed: Callable[[str | None, Mapping[str, Any]], None] | None = None
        """Told of each update that was made, with the model's name."""
        self.switched: Callable[[bool], None] | None = None
        """Told whether any request may be traced now, so that the data plane need not ask each time."""

    def rules(self, model: str) -> TraceRules:
        """The rules for a request of this model."""
        return self._own.get(model, self._all)

    @property
    def active(self) -> bool:
        """Whether any request may be traced."""
        return any(rules.on and rules.left for rules in (self._all, *self._own.values()))

    def get(self, model: str | None = None) -> dict[str, Any]:
        """The settings by Triton's names. Raises UnknownModel."""
        self._require(model)
        rules = self._all if model is None else self.rules(model)
        return {
            "trace_file": "" if self.file is None else str(self.file.path),
            "trace_level": [_LEVELS[rules.on]],
            "trace_rate": str(rules.rate),
            "trace_count": str(rules.left),
            "log_frequency": str(rules.frequency),
            "trace_mode": "triton",
        }

    def update(self, model: str | None, wanted: Mapping[str, Any]) -> None:
        """Change what `wanted` names, for one model or for all; None as a value takes the default again.

        Raises UnknownModel, and InvalidRequest with the setting, what was found and what is allowed.
        """
        self._require(model)
        start = TraceRules() if model is None else self._all
        changed = (self._all if model is None else self.rules(model)).copy()
        for name, value in wanted.items():
            self._set(changed, start, name, value)
        if not wanted:
            return
        if model is None:
            self._all = changed
            if self.file is not None:
                self.file.split(changed.frequency)
        else:
            self._own[model] = changed
        if self.switched is not None:
            self.switched(self.active)
        if self.changed is not None:
            self.changed(model, dict(wanted))

    def _set(self, rules: TraceRules, start: TraceRules, name: str, value: Any) -> None:
        if name == "trace_level":
            rules.on = start.on if value is None else self._level(value)
        elif name == "log_frequency" and start is self._all and value is not None:
            raise InvalidRequest("log_frequency cannot be set for one model: all models share the trace file")
        elif name in _NUMBERS:
            field, least = _NUMBERS[name]
            setattr(rules, field, getattr(start, field) if value is None else _number(name, value, least))
        elif name in _FIXED:
            now = self.get()[name]
            if _single(value) != now:
                raise InvalidRequest(
                    f"{name} is '{now}' and cannot be changed over the network; set MOORING_TRACE_FILE"
                )
        else:
            raise InvalidRequest(f"there is no trace setting {name}; there are {', '.join(self.get())}")

    def _level(self, value: Any) -> bool:
        levels = [value] if isinstance(value, str) else value
        if levels == ["OFF"]:
            return False
        if levels != ["TIMESTAMPS"]:
            raise InvalidRequest(f"trace_level is {value!r}, it must be OFF or TIMESTAMPS: tensors are not traced")
        if self.file is None:
            raise InvalidRequest("trace_level is TIMESTAMPS, but there is no file for traces: set MOORING_TRACE_FILE")
        return True

    def _require(self, model: str | None) -> None:
        if model is not None and model not in self._models():
            raise UnknownModel(f"unknown model '{model}'")


def _single(value: Any) -> Any:
    """A value as gRPC brings it, in a list of one."""
    return value[0] if isinstance(value, list) and len(value) == 1 else value


def _number(name: str, value: Any, least: int) -> int:
    text = str(_single(value))
    if isinstance(value, bool) or not text.removeprefix("-").isdecimal() or len(text) > 18 or int(text) < least:
        raise InvalidRequest(f"{name} is {value!r}, it must be a whole number from {least}")
    return int(text)
