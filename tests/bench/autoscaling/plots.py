"""Draws the traces; runs in an environment of its own: `plots.py SERIES.json FOLDER` writes FOLDER/TRACE.png."""

import json
import sys
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("Agg")
from matplotlib import pyplot as plt

COLOURS = {"oracle": "tab:green", "without lag": "tab:orange", "mooring": "tab:blue"}


def draw(trace: str, cells: list[dict[str, Any]], file: Path) -> None:
    """Draw one trace: of each model the pods above, the share of misses below."""
    figure, rows = plt.subplots(
        2 * len(cells), 1, figsize=(12, 4.2 * len(cells)), height_ratios=[3, 1] * len(cells), squeeze=False
    )
    for number, each in enumerate(cells):
        pods, missed = rows[2 * number][0], rows[2 * number + 1][0]
        hours = [minute / 60 for minute in range(len(each["worth"]))]
        pods.fill_between(hours, each["worth"], color="0.85", label="worth of the requests")
        for name, colour in COLOURS.items():
            values = each["pods"][name]
            pods.step(hours[: len(values)], values, where="post", color=colour, label=name, linewidth=1.2)
            shares = [100 * share for share in each["missed"][name]]
            missed.plot(hours[: len(shares)], shares, color=colour, linewidth=1)
        pods.set_title(f"{trace}, {each['model']}")
        pods.set_ylabel("pods")
        pods.legend(loc="upper left", fontsize=8)
        missed.axhline(5, color="0.5", linewidth=0.8, linestyle=":")
        missed.set_ylabel("misses, %")
        missed.set_ylim(0, 30)
        for axes in (pods, missed):
            axes.axvspan(0, 1, color="tab:gray", alpha=0.12)  # The first hour is not judged.
            axes.set_xlim(0, hours[-1])
    rows[-1][0].set_xlabel("hours")
    figure.tight_layout()
    figure.savefig(file, dpi=90)
    plt.close(figure)


def main() -> None:
    """Draw each trace of the file."""
    series = json.loads(Path(sys.argv[1]).read_text())
    for trace in dict.fromkeys(each["trace"] for each in series):
        cells = sorted((each for each in series if each["trace"] == trace), key=lambda each: each["model"])
        draw(trace, cells, Path(sys.argv[2]) / f"{trace}.png")


if __name__ == "__main__":
    main()
