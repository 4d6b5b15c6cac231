"""The goals of the rule, judged over seeds: one setting of ours for every trace and model."""

import statistics
from collections import defaultdict
from collections.abc import Iterable, Sequence

from tests.bench.autoscaling.cells import NO_LAG, ORACLE, OURS, Row
from tests.bench.autoscaling.fleet import Model
from tests.bench.report import RUNS, Goal, judge

FAST_START = 10.0
"""Load time in seconds up to which a surprise may cost more: the oracle then pays next to nothing for starting pods."""
_UNBATCHED = 1.05
"""How much dearer than a rival's cheapest as good setting ours may be on a model without batching."""

Cell = tuple[str, str]


def goals(rows: Sequence[Row], models: Iterable[Model]) -> list[Goal]:
    """Return the goals of all cells that were run, in the order of the traces."""
    by_name = {model.name: model for model in models}
    cells: dict[Cell, list[Row]] = defaultdict(list)
    for row in rows:
        cells[row.trace, row.model].append(row)
    found: list[Goal] = []
    for (trace, name), members in cells.items():
        fast = by_name[name].load <= FAST_START
        label = f"{trace}, {name}"
        ours = [row for row in members if row.controller == OURS]
        if trace == "day":
            found += [_attains(label, ours, 0.995), _costs(label, ours, 1.2)]
        elif trace in {"flash", "step"}:
            found += [_as_no_lag(label, members), _costs(label, ours, 1.55 if fast else 1.25)]
        elif trace in {"on_off", "heavy"}:
            found += [_attains(label, ours, 0.97), _costs(label, ours, 2.1 if fast else 1.9)]
        found += beside_rivals(label, members, 1.0 if by_name[name].batches else _UNBATCHED)
    return found


def _attains(label: str, ours: Sequence[Row], least: float) -> Goal:
    return judge(f"{label}: windows in time", [row.attained for row in ours], "", f">= {least:g}", _seeds(ours))


def _costs(label: str, ours: Sequence[Row], most: float) -> Goal:
    return judge(f"{label}: hours by the oracle's", [row.cost for row in ours], "x", f"<= {most:g}", _seeds(ours))


def _as_no_lag(label: str, members: Sequence[Row]) -> Goal:
    by_seed = {(row.seed, row.controller): row.bad for row in members if row.controller in {OURS, NO_LAG}}
    more = [bad - by_seed[seed, NO_LAG] for (seed, who), bad in by_seed.items() if who == OURS]
    detail = "bad minutes more than the controller without lag has"
    return judge(f"{label}: bad windows more", [float(each) for each in more], "", "<= 1", detail)


def beside_rivals(label: str, members: Sequence[Row], most: float) -> list[Goal]:
    """Return the goal that no setting of a rival attains as much for less; none where no rival was run.

    The figure is ours by the hours of the cheapest setting that attains at least as much, each a median over the seeds.
    """
    settings: dict[tuple[str, float], list[Row]] = defaultdict(list)
    for row in members:
        if row.controller not in {OURS, ORACLE, NO_LAG} and row.setting is not None:
            settings[row.controller, row.setting].append(row)
    if not settings:
        return []
    ours = [row for row in members if row.controller == OURS]
    attained = statistics.median(row.attained for row in ours)
    hours = statistics.median(row.hours for row in ours)
    as_good = {
        which: statistics.median(row.hours for row in tried)
        for which, tried in settings.items()
        if statistics.median(row.attained for row in tried) >= attained
    }
    name = f"{label}: hours by a rival's as good"
    if len(ours) < RUNS:
        return [Goal(name, None, "x", f"<= {most:g}", False, f"not measured: {RUNS} seeds are needed. {_seeds(ours)}")]
    if not as_good:
        return [Goal(name, 0.0, "x", f"<= {most:g}", True, f"none of {len(settings)} settings attains {attained:.4f}")]
    (rival, setting), cheapest = min(as_good.items(), key=lambda item: item[1])
    detail = f"{len(as_good)} of {len(settings)} settings attain {attained:.4f}; the cheapest is {rival} {setting:g}"
    value = round(hours / cheapest, 3)
    return [Goal(name, value, "x", f"<= {most:g}", value <= most, detail)]


def _seeds(ours: Sequence[Row]) -> str:
    return f"seeds {' '.join(str(row.seed) for row in ours)}"
