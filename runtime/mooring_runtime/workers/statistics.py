"""V2's statistics of several workers as those of one server. Pure.

perf_analyzer subtracts two snapshots, which different workers may have answered: each must be of the whole server, and
none smaller than the one before it.
"""

from collections.abc import Iterable, Mapping
from typing import Any

Rows = list[dict[str, Any]]


def merge_rows(tables: Iterable[Rows]) -> Rows:
    """One row for each model and version: counts, times and bytes are added up, the last inference is the latest."""
    merged: dict[tuple[str, str], dict[str, Any]] = {}
    for rows in tables:
        for row in rows:
            key = (row["name"], row["version"])
            merged[key] = _row(merged[key], row) if key in merged else row
    return list(merged.values())


def kept_rows(rows: Rows) -> Rows:
    """What still counts of a worker that has ended: not the memory that it held."""
    return [{**row, "memory_usage": []} for row in rows]


def chosen(rows: Rows, name: str | None, version: str | None) -> Rows:
    """The rows that a client has asked for; None asks for all."""
    return [row for row in rows if name in (None, row["name"]) and version in (None, row["version"])]


def _row(one: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    return {
        **_added(one, other, skip=("name", "version", "last_inference", "batch_stats", "memory_usage")),
        "last_inference": max(one["last_inference"], other["last_inference"]),
        "batch_stats": _lists(one["batch_stats"], other["batch_stats"], ("batch_size",)),
        "memory_usage": _lists(one["memory_usage"], other["memory_usage"], ("type", "id")),
    }


def _added(one: Mapping[str, Any], other: Mapping[str, Any], skip: tuple[str, ...] = ()) -> dict[str, Any]:
    """Numbers added up, in objects within objects too; what is in one only is taken over."""
    result = dict(one)
    for key, value in other.items():
        if key in skip:
            continue
        if key not in result:
            result[key] = value
        elif isinstance(value, Mapping):
            result[key] = _added(result[key], value)
        else:
            result[key] += value
    return result


def _lists(one: Rows, other: Rows, names: tuple[str, ...]) -> Rows:
    """Lists of objects, those of the same names added up."""
    merged: dict[tuple[Any, ...], dict[str, Any]] = {}
    for entry in (*one, *other):
        key = tuple(entry[name] for name in names)
        merged[key] = _added(merged[key], entry, skip=names) if key in merged else entry
    return [merged[key] for key in sorted(merged)]
