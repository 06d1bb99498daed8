"""Line plots: a grid of panels, each with lines through means over pictures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure


@dataclass(frozen=True, slots=True)
class Line:
    """Points with, if given, (low, high) of each; `style` as matplotlib has it."""

    label: str
    x: Sequence[float]
    y: Sequence[float]
    band: Sequence[tuple[float, float]] = ()
    style: str = "-o"
    color: str | None = None


@dataclass(frozen=True, slots=True)
class Panel:
    """One pair of axes. `level`: (y, label) of a horizontal line; `ticks`: (positions, labels) on x."""

    x: str
    y: str
    lines: Sequence[Line]
    title: str = ""
    log_x: bool = False
    level: tuple[float, str] | None = None
    ticks: tuple[Sequence[float], Sequence[str]] | None = field(default=None)


def plot(panels: Sequence[Sequence[Panel]], title: str, path: Path) -> None:
    """Write a PNG of rows of panels; one legend below each column, of all lines in it."""
    rows, columns = len(panels), max(map(len, panels))
    figure = Figure(figsize=(5.4 * columns, 3.6 * rows + 0.5), layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False)
    for row, line in enumerate(panels):
        for column, panel in enumerate(line):
            _fill(grid[row][column], panel)
    for column in range(columns):
        drawn: dict[str, Any] = {}
        for axes in grid[:, column]:
            handles, labels = axes.get_legend_handles_labels()
            drawn |= dict(zip(labels, handles, strict=True))
        # Below the axes: within them it hides points.
        grid[-1][column].legend(
            drawn.values(), drawn.keys(), fontsize=8, loc="upper center", bbox_to_anchor=(0.5, -0.18), ncols=2,
            frameon=False,
        )  # fmt: skip
    figure.suptitle(title, fontsize=11)
    figure.savefig(path, dpi=110)


def _fill(axes, panel: Panel) -> None:  # type: ignore[no-untyped-def]
    for line in panel.lines:
        style = {"label": line.label, "color": line.color, "markersize": 4, "linewidth": 1.5}
        (drawn,) = axes.plot(line.x, line.y, line.style, **style)
        if line.band:
            low, high = zip(*line.band, strict=True)
            axes.fill_between(line.x, low, high, color=drawn.get_color(), alpha=0.12, linewidth=0)
    if panel.level is not None:
        axes.axhline(panel.level[0], color="0.45", linestyle=":", linewidth=1.2, label=panel.level[1])
    axes.set(xlabel=panel.x, ylabel=panel.y)
    axes.set_title(panel.title, fontsize=10)
    if panel.log_x:
        axes.set_xscale("log")
    if panel.ticks is not None:
        axes.set_xticks(panel.ticks[0], panel.ticks[1])
        axes.minorticks_off()  # of a logarithmic axis they have labels of their own
    axes.grid(alpha=0.3)
